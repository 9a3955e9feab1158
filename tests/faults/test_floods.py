"""Programs that write far more than is kept."""

import asyncio
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from schemas.events import Ended, parse_event
from schemas.output import StreamName
from schemas.status import Status
from tests.e2e.conftest import HubMaker, user_of
from tests.integration.runner.conftest import MakeHub, docker_instance, engine, hub, identity, python_image
from tests.support.hub_process import HubProcess
from tests.support.memory import forget_peak, peak_bytes
from tests.support.wait import eventually

__all__ = ["docker_instance", "engine", "hub", "identity", "python_image"]
pytestmark = pytest.mark.docker

MEBIBYTE = 1024 * 1024
FLOOD_MEBIBYTES = 1024
CAP = 10 * MEBIBYTE
_FLOOD = f"""
import sys
block = b"x" * 65536
for _ in range({FLOOD_MEBIBYTES * 16}):
    sys.stdout.buffer.write(block)
sys.stdout.buffer.write(b"the end")
"""


async def test_fault19_t9_a_gibibyte_of_output_costs_no_memory_and_little_disk_and_is_counted_to_the_byte(
    make_hub: HubMaker,
) -> None:
    hub = make_hub(HUB_LOG_LEVEL="INFO")
    hub.write_program("floods", _FLOOD, cpu_limit="1")
    async with user_of(hub) as api:
        # What it writes first makes the buffers as large as they get.
        assert (await api.run("big", size=CAP + 1))["status"] == "completed"
        before = forget_peak(hub.pid())
        execution_id = await api.submit("floods")

        async def disk() -> tuple[int, int]:
            containers = await asyncio.to_thread(hub.containers)
            return len(containers), await asyncio.to_thread(log_bytes, containers)

        await eventually(disk, lambda seen: seen[0] == 1, within_seconds=20)
        largest = 0
        while (seen := await disk())[0]:
            largest = max(largest, seen[1])
            await asyncio.sleep(0.1)
        # Measured before it is read: an answer of ten mebibytes has its own cost.
        grew = peak_bytes(hub.pid()) - before
        record = await api.finished(execution_id)

    assert told(hub, execution_id).stdout.total_bytes == FLOOD_MEBIBYTES * MEBIBYTE + len("the end")
    assert (record["status"], record["exit_code"]) == ("completed", 0)
    assert (len(record["output"]), record["output_truncated"]) == (CAP, True)
    assert record["output"].endswith("the end")
    assert 0 < largest < 64 * MEBIBYTE
    assert grew < 16 * MEBIBYTE, f"{grew / MEBIBYTE:.1f} MiB"


def told(hub: HubProcess, execution_id: str) -> Ended:
    """The terminal event, as it is in the log of a hub that has ended."""
    with closing(sqlite3.connect(Path(hub.environment["HUB_STATE_DIR"]) / "bus.db")) as bus:
        bodies = bus.execute("SELECT body FROM stream_log WHERE key LIKE 'execution.completed.%'").fetchall()
    ended = [event.data for (body,) in bodies if (event := parse_event(body)).subject == execution_id]
    assert len(ended) == 1
    assert isinstance(ended[0], Ended)
    return ended[0]


def log_bytes(containers: list[str]) -> int:
    """What Docker keeps of the output of these containers on its disk."""
    root = subprocess.run(["docker", "info", "-f", "{{.DockerRootDir}}"], check=True, capture_output=True, text=True).stdout
    logs = [Path(root.strip()) / "containers" / container / "local-logs" for container in containers]
    return sum(file.stat().st_size for folder in logs if folder.is_dir() for file in folder.iterdir())


@pytest.mark.parametrize("lines", [100_000, 1_000_000])
async def test_t9_what_docker_has_dropped_while_nobody_was_there_is_said_to_be_missing(hub: MakeHub, lines: int) -> None:
    # Short lines take many times their length in Docker's log: it drops the first ones long before the cap is reached.
    around = hub(
        "import os, sys; sys.stdout.writelines(f'{n}\\n' for n in range(int(os.environ['PARAM_LINES'])))", cpu_limit="1"
    )
    async with around.crashing_runner():
        execution_id = await around.submit(lines=lines)
        await around.is_running(execution_id)
    # A process that is gone has no connections; one that stays open and unread would hold the program up.
    await around.engine.close()

    async def is_over() -> bool:
        found = await around.engine.find(execution_id)
        return found is not None and found.state.value == "ended"

    await eventually(is_over, within_seconds=60)
    async with around.runner():
        ended = await around.ended(execution_id)
    written = b"".join(b"%d\n" % number for number in range(lines))
    assert len(written) < CAP
    kept = around.output(execution_id, StreamName.STDOUT)
    assert ended.status is Status.COMPLETED
    assert (kept == written) == (lines == 100_000)
    assert ended.stdout.truncated == (kept != written)
    assert kept.endswith(written[-100_000:])
