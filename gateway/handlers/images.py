"""``/images``: the images that the programs of config.yaml run in. Docker is not asked."""

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from gateway.answers import json_answer
from gateway.image_names import parse_image_name
from gateway.keys import CATALOGUES
from schemas.catalogue import Catalogue


async def list_configured(request: web.Request) -> web.Response:
    """The image of each enabled program that names one, then the default image."""
    images = list(_rows(request.app[CATALOGUES].current))
    return json_answer({"total_images": len(images), "images": images})


async def search(request: web.Request) -> web.Response:
    """Those whose full name contains a text, in whatever case."""
    term = request.match_info["term"]
    images = [row for row in _rows(request.app[CATALOGUES].current) if term.lower() in row["full_name"].lower()]
    return json_answer({"search_term": term, "total_images": len(images), "images": images})


def _rows(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    for program in catalogue:
        if program.enabled and program.docker_image is not None:
            kind = program.kind.value
            yield _row(program.docker_image, source=kind) | {f"{kind}_id": program.id}
    yield _row(catalogue.settings.docker_image, source="default") | {
        "description": "Default image for programs without custom image"
    }


def _row(image: str, *, source: str) -> dict[str, Any]:
    name = parse_image_name(image)
    return {
        "repository": name.repository,
        "tag": name.tag,
        # What Docker knows of it, only runners could say: this list is the configuration's.
        "image_id": "config",
        "size": "N/A",
        "created_at": "N/A",
        "full_name": image,
        "source": source,
    }
