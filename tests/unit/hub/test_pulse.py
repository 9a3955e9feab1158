"""The beats that a container's health check looks for."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from hub import pulse
from hub.pulse import STALE_SECONDS, Pulse, feel
from tests.support.wait import eventually


async def test_a_process_that_beats_is_well_until_it_beats_no_more(tmp_path: Path) -> None:
    problems: dict[str, str] = {}
    assert feel(tmp_path) == "it has not started yet"

    beating = asyncio.create_task(Pulse(tmp_path, lambda: problems).run())
    await eventually(lambda: _felt(tmp_path), lambda felt: felt is None)
    beating.cancel()

    late = feel(tmp_path, now=time.time() + STALE_SECONDS + 1)
    assert late is not None
    assert late.startswith("the last beat was 2")


async def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    beating = asyncio.create_task(Pulse(tmp_path, lambda: {"bus": "not connected"}).run())
    assert await eventually(lambda: _felt(tmp_path), lambda felt: felt != "it has not started yet") == "bus: not connected"
    beating.cancel()


async def test_the_beats_of_a_former_process_count_no_more(tmp_path: Path) -> None:
    (tmp_path / "pulse").write_text("engine: away\n", encoding="utf-8")
    beating = asyncio.create_task(Pulse(tmp_path, dict).run())
    await eventually(lambda: _felt(tmp_path), lambda felt: felt is None)
    beating.cancel()


def test_the_health_check_ends_with_what_it_felt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUB_STATE_DIR", str(tmp_path))
    (tmp_path / "pulse").write_text("", encoding="utf-8")
    assert pulse.main() == 0
    assert capsys.readouterr().out == "all is well\n"
    os.utime(tmp_path / "pulse", (0, 0))
    assert pulse.main() == 1


async def _felt(state_dir: Path) -> str | None:
    return feel(state_dir)
