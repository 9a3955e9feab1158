"""Disks that fill up under a hub: its own ones, one after the other, and all at once."""

import asyncio
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import HubMaker
from tests.support.api import Api
from tests.support.broker import Broker
from tests.support.hub_process import HubProcess
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]

#: Bytes below which no work is taken.
LEAST = 6 * 1024 * 1024
#: Seconds after which all is as it was, once there is room.
RECOVERY_SECONDS = 10
#: Writes a line each tenth of a second, and leaves with a code of its own.
LASTS = """
import os, sys, time
open("/workspace/starts", "a").write(os.environ["EXECUTION_ID"] + "\\n")
for number in range(int(os.environ["PARAM_LINES"])):
    print(number, "x" * 100, flush=True)
    time.sleep(0.1)
sys.exit(int(os.environ["PARAM_CODE"]))
"""


@dataclass
class Fleet:
    """The parts of a hub, each with a disk of its own."""

    api: Api
    parts: list[HubProcess]
    disks: list[SmallDisk]

    @property
    def runner(self) -> HubProcess:
        """The one that runs programs."""
        return self.parts[-1]

    async def records(self, ids: Iterable[str]) -> list[tuple[str, int | None]]:
        """How each of them is now."""
        records = [await self.api.get(f"/executions/{execution_id}") for execution_id in ids]
        return [(record["status"], record["exit_code"]) for record in records]


@pytest.fixture
async def fleet(request: pytest.FixtureRequest, make_hub: HubMaker) -> AsyncIterator[Fleet]:
    """All in one process on the embedded bus, or gateway and runner on RabbitMQ."""
    settings: dict[str, Any] = {"HUB_MIN_FREE_BYTES": str(LEAST), "HUB_LOG_LEVEL": "INFO", "HUB_STOP_SECONDS": "1"}
    if request.param == "embedded":
        parts = [make_hub(**settings)]
    else:
        broker: Broker = request.getfixturevalue("broker")
        url = broker.new_vhost_url()
        parts = [make_hub(bus_url=url, parts=(part,), **settings) for part in ("gateway", "runner")]
    with ExitStack() as stack:
        disks = [stack.enter_context(small_disk(Path(hub.environment["HUB_STATE_DIR"]))) for hub in parts]
        for hub in parts:
            stack.callback(hub.close)
            hub.write_program("lasts", LASTS)
            hub.start()
        async with aiohttp.ClientSession(parts[0].address) as session:
            api = Api(session)
            await api.log_in()
            yield Fleet(api, parts, disks)
        for hub in parts:
            hub.stop()
            for path in Path(hub.environment["HUB_STATE_DIR"]).rglob("*.db"):
                with closing(sqlite3.connect(path)) as database:
                    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",), path


@pytest.mark.parametrize(
    ("fleet", "full"),
    [("embedded", [0]), ("rabbitmq", [0]), ("rabbitmq", [1])],
    indirect=["fleet"],
    ids=["embedded", "the gateway's", "the runner's"],
)
async def test_fault21_m27_a_full_disk_refuses_new_work_loses_nothing_and_all_goes_on_when_there_is_room(
    fleet: Fleet, full: list[int]
) -> None:
    disks = [fleet.disks[number] for number in full]
    running = [await fleet.api.submit("lasts", lines=30, code=code) for code in (3, 4)]
    await eventually(lambda: fleet.records(running), lambda seen: seen == [("running", None)] * 2, within_seconds=20)
    waiting = await fleet.api.submit("lasts", lines=1, code=5)

    # Almost full: told in time, while what runs has room enough to end.
    for disk in disks:
        disk.fill(leave_bytes=LEAST // 2)
    if 0 in full:
        await refuses(fleet.api)
    # Full to the last byte, until what ran is over.
    for disk in disks:
        disk.fill()
    await eventually(lambda: asyncio.to_thread(still_run, fleet.runner, running), lambda left: not left, within_seconds=20)
    await asyncio.sleep(1)
    if 0 in full:
        await refuses(fleet.api)
    else:
        assert (await fleet.records(running)) == [("running", None)] * 2, "the runner could tell it all the same"
    for disk in disks:
        disk.empty()

    ends = [("failed", 3), ("failed", 4), ("failed", 5)]
    await eventually(lambda: fleet.records([*running, waiting]), lambda seen: seen == ends, within_seconds=RECOVERY_SECONDS)
    assert (await fleet.api.run("hello"))["status"] == "completed"
    assert sorted(starts(fleet)) == sorted([*running, waiting])
    if fleet.runner.folder / "state" in [disk.folder for disk in disks]:
        assert "journal_blocked" in fleet.runner.log(), "the disk was not full for those who write"


@pytest.mark.parametrize("fleet", ["embedded"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_fault21_a_hub_that_ends_on_a_full_disk_has_everything_when_it_is_back(
    fleet: Fleet, number: signal.Signals
) -> None:
    ids = [await fleet.api.submit("lasts", lines=20, code=code) for code in (3, 4, 5)]
    await eventually(lambda: fleet.records(ids[:2]), lambda seen: seen == [("running", None)] * 2, within_seconds=20)
    fleet.disks[0].fill()
    await asyncio.sleep(1)
    fleet.runner.kill() if number is signal.SIGKILL else fleet.runner.stop()
    fleet.disks[0].empty()
    fleet.runner.start()

    ends = [("failed", 3), ("failed", 4), ("failed", 5)]
    await eventually(lambda: fleet.records(ids), lambda seen: seen == ends, within_seconds=RECOVERY_SECONDS)
    assert sorted(starts(fleet)) == sorted(ids)


async def refuses(api: Api) -> None:
    status, headers, body = await api.call("POST", "/execute", {"program_id": "hello"})
    assert (status, body["type"]) == (503, "/problems/disk-full"), body
    assert int(headers["Retry-After"]) > 0
    health = await api.get("/health")
    assert health["status"] == "degraded"
    assert "MiB are needed" in health["problems"]["disk"]
    assert (await api.call("GET", "/health?ready=1"))[0] == 503


def still_run(hub: HubProcess, ids: Iterable[str]) -> list[str]:
    # Of a list, one after the other would have to be asked for, and may be gone by then.
    mine = ("docker", "ps", "--filter", f"label=io.pyexecutorhub.instance={hub.instance}", "--format", "{{.Names}}")
    names = subprocess.run(mine, check=True, capture_output=True, text=True).stdout.split()
    return [name for name in names if name in ids]


def starts(fleet: Fleet) -> list[str]:
    return (fleet.runner.folder / "scripts" / "lasts" / "starts").read_text(encoding="utf-8").split()
