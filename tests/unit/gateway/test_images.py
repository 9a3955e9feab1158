"""/images: the images of the configuration."""

import pytest

from gateway.image_names import parse_image_name
from schemas.programs import ProgramKind
from tests.support.gateway_fakes import Client, World, catalogue, program

_CONFIGURED = {"image_id": "config", "size": "N/A", "created_at": "N/A"}


@pytest.fixture
def images(world: World) -> None:
    world.catalogues.current = catalogue(
        program("test_script", docker_image="test-script:latest"),
        program("plain"),
        program("off", docker_image="off:1", enabled=False),
        program("twice", docker_image="test-script:latest"),
        program("billing", id="7", kind=ProgramKind.BOT, docker_image="registry.local:5000/Team/billing:2.1"),
    )


DEFAULT = _CONFIGURED | {
    "repository": "pyexecutorhub-base",
    "tag": "latest",
    "full_name": "pyexecutorhub-base",
    "source": "default",
    "description": "Default image for programs without custom image",
}
TEST_SCRIPT = _CONFIGURED | {
    "repository": "test-script",
    "tag": "latest",
    "full_name": "test-script:latest",
    "source": "script",
    "script_id": "test_script",
}
BILLING = _CONFIGURED | {
    "repository": "registry.local:5000/Team/billing",
    "tag": "2.1",
    "full_name": "registry.local:5000/Team/billing:2.1",
    "source": "bot",
    "bot_id": "7",
}


@pytest.mark.usefixtures("images")
async def test_i1_the_images_of_enabled_programs_are_listed_and_the_default_one_last(client: Client) -> None:
    response = await client.get("/images/available")

    images = [TEST_SCRIPT, TEST_SCRIPT | {"script_id": "twice"}, BILLING, DEFAULT]
    assert await response.json() == {"total_images": 4, "images": images}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("test-script", [TEST_SCRIPT, TEST_SCRIPT | {"script_id": "twice"}]),
        ("TEAM/BILL", [BILLING]),
        ("local:5000/Team/billing:2.1", [BILLING]),
        ("off", []),
        ("base", [DEFAULT]),
    ],
)
async def test_i2_images_are_found_by_a_part_of_their_name_in_any_case_and_with_slashes(
    client: Client, term: str, found: list[dict[str, str]]
) -> None:
    response = await client.get(f"/images/search/{term}")

    assert response.status == 200
    assert await response.json() == {"search_term": term, "total_images": len(found), "images": found}


@pytest.mark.parametrize(
    ("text", "repository", "tag"),
    [
        ("python", "python", "latest"),
        ("python:3.11-slim", "python", "3.11-slim"),
        ("host:5000/a/b:1", "host:5000/a/b", "1"),
        ("host:5000/a/b", "host:5000/a/b", "latest"),
        ("a/b@sha256:" + "0" * 64, "a/b", "sha256:" + "0" * 64),
        ("host:5000/a:2@sha256:" + "1" * 64, "host:5000/a", "sha256:" + "1" * 64),
    ],
)
def test_i3_registry_port_tag_and_digest_are_told_apart(text: str, repository: str, tag: str) -> None:
    name = parse_image_name(text)

    assert (name.repository, name.tag) == (repository, tag)
