"""``./install.sh``, as a newcomer runs it: in a fresh copy of the project, with nothing but what is checked in (O2, O7)."""

import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.project_copy import copy_project

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """A copy of what is checked in (or about to be), and a stop at the end."""
    folder = copy_project(tmp_path / "project")
    yield folder
    install(folder, free_port(), "stop")


def install(folder: Path, port: int, *words: str) -> subprocess.CompletedProcess[str]:
    """One call of the script."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HUB_", "VIRTUAL_ENV"))}
    return subprocess.run(
        ["./install.sh", *words],
        cwd=folder,
        env=environment | {"API_PORT": str(port)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return int(answer.status) == 200
    except (OSError, urllib.error.URLError):
        return False


def test_o2_o7_a1_install_runs_the_test_script_shows_credentials_once_and_stops_without_a_trace(copy: Path) -> None:
    port = free_port()

    first = install(copy, port, "--yes")
    assert first.returncode == 0, first.stdout + first.stderr
    for line in (
        "📋 Program ID: test_script",
        "🆔 Execution ID: ",
        "👋 Hola mundo Temis!",
        "🐳 Running inside Docker container",
        "🐍 Python version: 3.11",
        "📝 No custom parameters provided",
        "CREDENCIALES DE USO",
        "Usuario: ",
        "Password: ",
    ):
        assert line in first.stdout
    assert answers(port)
    pid = (copy / ".hub" / "hub.pid").read_text().strip()

    second = install(copy, port, "--yes")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "🐳 Running inside Docker container" in second.stdout
    assert "CREDENCIALES DE USO" not in second.stdout
    assert (copy / ".hub" / "hub.pid").read_text().strip() == pid

    stopped = install(copy, port, "stop")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert not Path(f"/proc/{pid}").exists()
    assert not answers(port)
    instance = (copy / ".hub" / "instance").read_text().strip()
    left = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"label=io.pyexecutorhub.instance={instance}"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert left.stdout == ""
    # The daemon stays.
    subprocess.run(["docker", "version"], check=True, capture_output=True)


def test_o2_what_is_not_understood_is_refused_with_the_usage(copy: Path) -> None:
    answer = install(copy, free_port(), "--everything")
    assert answer.returncode == 1
    assert "unknown argument: --everything" in answer.stderr
    assert "./install.sh stop" in answer.stderr
