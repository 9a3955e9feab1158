"""The command line of Compose: found, run and ended."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from runner.compose_command import ComposeCommand, find_command, own_environment, run
from tests.support.wait import eventually


def script(folder: Path, text: str, name: str = "docker-compose") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


async def test_the_plugin_comes_before_docker_compose_and_a_configured_one_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = script(tmp_path / "config" / "cli-plugins", "echo 2.26.1-4")
    old = script(tmp_path / "bin", "echo 1.29.2")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    assert await find_command() == ComposeCommand((str(plugin),), "2.26.1-4")
    found = await find_command(f"{old} ")
    assert found == ComposeCommand((str(old),), "1.29.2")
    assert (found.is_v1, found.title) == (True, "docker-compose 1.29.2")


@pytest.mark.parametrize("text", ["exit 1", "echo what", "echo 2.0.0; exit 3", "echo unknown command >&2"])
async def test_what_tells_no_version_is_no_compose(tmp_path: Path, text: str) -> None:
    assert await find_command(str(script(tmp_path, text))) is None
    assert await find_command(str(tmp_path / "absent")) is None


async def test_a_process_gets_what_it_is_given_and_its_end_is_told(tmp_path: Path) -> None:
    done = await run(["sh", "-c", "env; echo wrong >&2; exit 3"], env={"A": "b"}, cwd=tmp_path, limit_seconds=10)
    assert (done.code, done.stderr) == (3, b"wrong\n")
    assert {line.split(b"=")[0] for line in done.stdout.split()} <= {b"A", b"PWD", b"_", b"SHLVL", b"OLDPWD"}


async def test_a_process_and_its_children_end_at_the_limit(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await run(["sh", "-c", "sleep 60 & sleep 60"], env=own_environment(), cwd=tmp_path, limit_seconds=0.2)
    assert time.monotonic() - began < 8


async def test_a_cancelled_run_ends_the_process(tmp_path: Path) -> None:
    running = asyncio.create_task(
        run(["sh", "-c", "echo $$ > pid; exec sleep 60"], env=own_environment(), cwd=tmp_path, limit_seconds=60)
    )

    async def pid() -> str:
        return (tmp_path / "pid").read_text().strip() if (tmp_path / "pid").exists() else ""

    number = await eventually(pid)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not Path(f"/proc/{number}").exists()


def test_the_runners_own_secrets_stay_with_it_k4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_BUS_URL", "amqp://user:secret@host/")
    environment = own_environment("unix:///run/docker.sock")
    assert environment["DOCKER_HOST"] == "unix:///run/docker.sock"
    assert "HUB_BUS_URL" not in environment
