"""``/programs``: what can be run."""

from typing import Any

from aiohttp import web

from gateway.answers import json_answer
from gateway.keys import CATALOGUES
from schemas.programs import Program


async def list_enabled(request: web.Request) -> web.Response:
    """The enabled programs, scripts first, in the order of config.yaml."""
    return json_answer([_row(program) for program in request.app[CATALOGUES].current if program.enabled])


def _row(program: Program) -> dict[str, Any]:
    return {
        "id": program.id,
        "name": program.name,
        "type": program.kind.value,
        "description": program.description,
        "enabled": program.enabled,
        "path": program.path,
        "key": program.key,
        "docker_image": program.docker_image,
        "parameters": program.parameters,
        "path_docker_compose_run": program.path_docker_compose_run,
        "compose_profile": program.compose_profile.value if program.path_docker_compose_run else None,
    }
