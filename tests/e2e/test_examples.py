"""The programs that are shipped, run from the shipped config.yaml as it stands (O7, P3)."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.conftest import user_of
from tests.support.api import Api
from tests.support.hub_process import ROOT, HubProcess

pytestmark = pytest.mark.docker


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    for name in ("config.yaml", "scripts", "bots"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy2(source, tmp_path / name)
    hub = HubProcess(tmp_path)
    async with user_of(hub) as api:
        yield api


async def test_o7_p3_b16_every_shipped_program_is_listed_and_ends_well(api: Api) -> None:
    programs = await api.get("/programs")
    assert [(program["id"], program["type"]) for program in programs] == [
        ("test_script", "script"),
        ("example_script", "script"),
        ("example_bot", "bot"),
    ]
    assert all(
        set(program)
        >= {
            *("id", "name", "type", "description", "enabled", "path", "key"),
            *("docker_image", "parameters", "path_docker_compose_run"),
        }
        for program in programs
    )

    test_script = await api.run("test_script", zeta=1, alpha="a b")
    assert test_script["status"] == "completed"
    lines = test_script["output"].splitlines()
    assert "👋 Hola mundo Temis!" in lines
    assert "🐳 Running inside Docker container" in lines
    assert [line for line in lines if line.startswith("📝")] == ["📝 Parameter PARAM_ALPHA: a b", "📝 Parameter PARAM_ZETA: 1"]

    example_script = await api.run("example_script", name="Temis")
    assert example_script["output"].endswith("Hello, Temis!\n")

    example_bot = await api.run("example_bot", numbers=[1, 2, 6])
    assert example_bot["output"] == "Bot example_bot in production mode, 3 numbers\nmean 3, median 2\n"
    broken = await api.run("example_bot", numbers="one two")
    assert (broken["status"], broken["exit_code"]) == ("failed", 2)
    assert "PARAM_NUMBERS must be numbers" in broken["error"]
