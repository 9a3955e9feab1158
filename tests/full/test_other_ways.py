"""The same fleet by the other command of Compose, and by install.sh."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.full.conftest import IMAGES, Fleet, made
from tests.full.documents import PROGRAM, text_of, write_program
from tests.full.users import credentials, user_of
from tests.support.office_files import write_docx

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(1200)]


@pytest.fixture
def clone(tmp_path: Path, fleet: Fleet) -> Iterator[Fleet]:
    """Another clone, with the images of the first."""
    yield from made(tmp_path / "clone")


@pytest.fixture
def old_clone(tmp_path: Path, fleet: Fleet) -> Iterator[Fleet]:
    """Another clone on a machine that has docker-compose 1.29 alone."""
    yield from made(tmp_path / "clone", plugin=False)


async def test_o1_b12_docker_compose_1_29_starts_the_same_fleet_and_removes_all_of_it(old_clone: Fleet) -> None:
    assert "1.29" in old_clone.type("docker-compose version")
    old_clone.type("docker-compose config -q")
    old_clone.type("docker-compose up -d")
    old_clone.await_health()
    shown = credentials(old_clone, 'docker-compose logs --no-color pyexecutorhub-api | grep -A 5 "CREDENCIALES DE USO"')
    async with user_of(old_clone, shown) as api:
        assert (await api.run("test_script"))["status"] == "completed"
    old_clone.type("docker-compose down -v")
    assert [name for kind in ("container", "volume", "network") for name in old_clone.labelled(kind)] == []


def test_o2_install_compose_starts_the_fleet_shows_credentials_once_and_stops_it(clone: Fleet) -> None:
    first = clone.type("./install.sh --yes --compose")
    for line in (
        "👋 Hola mundo Temis!",
        "🐳 Running inside Docker container",
        "CREDENCIALES DE USO",
        "Usuario: ",
        "Password: ",
    ):
        assert line in first
    assert f"The fleet answers on {clone.address}" in first
    running = clone.labelled("container")

    second = clone.type("./install.sh --yes --compose")
    assert "🐳 Running inside Docker container" in second
    assert "CREDENCIALES DE USO" not in second
    assert clone.labelled("container") == running

    assert "no hub of ours runs" not in clone.type("./install.sh stop")
    assert "no hub of ours runs" in clone.type("./install.sh stop")
    assert clone.labelled("container") == []
    assert f"{clone.project}_gateway-state" in clone.labelled("volume")


def test_r14_a_full_base_image_is_not_made_a_plain_one(clone: Fleet) -> None:
    image = IMAGES["HUB_BASE_IMAGE"]
    show = f"docker image inspect --format '{{{{.Id}}}} {{{{index .Config.Labels \"io.pyexecutorhub.libreoffice\"}}}}' {image}"
    clone.type("tools/base_image.sh --full")
    full = clone.type(show)
    assert full.endswith(" yes\n")
    clone.type("tools/base_image.sh")
    assert clone.type(show) == full


def test_o2_r14_install_full_gives_programs_of_one_machine_libreoffice_too(clone: Fleet) -> None:
    folder = write_program(clone, "convert", PROGRAM)
    write_docx(folder / "document.docx", "Converted on one machine")
    try:
        clone.type("./install.sh --yes --full")
        clone.type(".venv/bin/pyexecutorhub run convert")
        assert "Converted on one machine" in text_of(folder / "output" / "document.pdf")
    finally:
        clone.type("./install.sh stop")
