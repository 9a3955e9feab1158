"""A large config.yaml, and a hostile one, under a hub that goes on answering."""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from itertools import cycle
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import user_of
from tests.support.api import Api
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = pytest.mark.docker

PROGRAMS = 1000
#: Seconds of hostile edits; a minute in a long run.
HOSTILE_SECONDS = float(os.environ.get("HOSTILE_SECONDS", "8"))


@pytest.fixture
def hub(tmp_path: Path) -> HubProcess:
    hub = HubProcess(tmp_path)
    hub.write_program("works", "print('works')")
    return hub


@pytest.fixture
async def api(hub: HubProcess) -> AsyncIterator[Api]:
    async with user_of(hub) as api:
        yield api


async def test_p15_of_a_thousand_programs_an_edit_is_live_within_a_second(hub: HubProcess, api: Api) -> None:
    many = {f"p{number}": {"path": "scripts/works", "description": f"Number {number}"} for number in range(PROGRAMS)}
    hub.edit(lambda config: config["scripts"].update(many))

    async def programs() -> dict[str, str]:
        return {program["id"]: program["description"] for program in await api.get("/programs")}

    await eventually(programs, lambda shown: len(shown) == PROGRAMS + 1, within_seconds=20)
    hub.edit(lambda config: config["scripts"]["p500"].update(description="Edited"))
    edited_at = time.monotonic()
    await eventually(programs, lambda shown: shown["p500"] == "Edited", within_seconds=20, every_seconds=0.02)
    took = time.monotonic() - edited_at
    seconds = []
    for _ in range(21):
        asked_at = time.monotonic()
        await api.get("/programs")
        seconds.append(time.monotonic() - asked_at)

    # Ten times what is promised of an idle machine: this catches what got slow, and a busy machine does not decide it.
    assert took < 10, f"{took:.2f} s"
    assert statistics.median(seconds) < 0.5, f"{statistics.median(seconds) * 1000:.0f} ms"


async def _keep_writing(path: Path, contents: Iterator[bytes]) -> None:
    """Write the next of these every 50 ms, without end."""
    while True:
        # In place, as the worst of editors does, so that halves are seen too.
        await asyncio.gather(asyncio.to_thread(path.write_bytes, next(contents)), asyncio.sleep(0.05))


async def test_fault23_p16_a_hostile_config_breaks_no_request_and_never_becomes_active(hub: HubProcess, api: Api) -> None:
    good = hub.config_path.read_bytes()
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
        f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]" for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    )
    hostile = cycle(
        [
            good[: len(good) // 2],
            b"",
            bomb.encode(),
            b"scripts:\n" + b"  # filler\n" * 1_000_000,
            b"[" * 100_000,
            b"\xff\xfe\x00\x01",
            b"scripts: {works: {path: [1, 2]}}\n",
            b"scripts: {evil: {path: scripts/works, enabled: maybe}}\n",
            b"settings: {max_concurrent_executions: -1}\n",
            b"scripts: !!python/object/apply:os.system ['true']\n",
            b"scripts:\n  a:\n" + b"".join(b"    k%d: 1\n" % number for number in range(60_000)),
            b"settings: {memory_limit: '" + b"x" * 1_000_000 + b"'}\n",
        ]
    )
    expected = await api.get("/programs")
    written = asyncio.create_task(_keep_writing(hub.config_path, hostile))
    give_up_at = time.monotonic() + HOSTILE_SECONDS
    last_execution = 0.0
    slowest = 0.0
    while time.monotonic() < give_up_at:
        asked_at = time.monotonic()
        assert await api.get("/programs") == expected
        status, headers, _ = await api.call("GET", "/health")
        assert status == 200
        # Everybody may ask for it: what is wrong must not be a long answer.
        assert int(headers["Content-Length"]) < 100_000
        slowest = max(slowest, time.monotonic() - asked_at)
        if time.monotonic() - last_execution > 2:
            assert (await api.run("works"))["output"] == "works\n"
            last_execution = time.monotonic()
        await asyncio.sleep(0.02)
    written.cancel()
    await asyncio.wait({written})
    assert written.cancelled()
    # A file of a megabyte takes seconds to judge; requests go on meanwhile.
    assert slowest < 10, f"{slowest:.2f} s"

    hub.edit_from(yaml.safe_load(good) | {"bots": {"new": {"path": "scripts/works"}}})

    async def ids() -> list[str]:
        return [program["id"] for program in await api.get("/programs")]

    assert await eventually(ids, lambda shown: "new" in shown, within_seconds=60) == ["works", "new"]
    assert "config" not in (await api.get("/health")).get("problems", {})
