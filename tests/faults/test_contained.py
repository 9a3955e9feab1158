"""Programs that do their worst within their container, and others beside them that do not notice."""

import asyncio
import os
import statistics
import time
from pathlib import Path

import pytest

from schemas.status import Status
from tests.integration.runner.conftest import MakeHub, docker_instance, engine, hub, identity, python_image
from tests.support.docker import containers, docker
from tests.support.runner_fixtures import Hub
from tests.support.wait import eventually

__all__ = ["docker_instance", "engine", "hub", "identity", "python_image"]
pytestmark = pytest.mark.docker

_BOMB = """
    import os, time
    print("lit", flush=True)
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)
"""
_PIDS = 48


async def median_seconds(around: Hub, program: str, times: int) -> float:
    """How long a short program takes, from its command to its end."""
    took = []
    for _ in range(times):
        began = time.monotonic()
        assert (await around.ended(await around.submit(program))).status is Status.COMPLETED
        took.append(time.monotonic() - began)
    return statistics.median(took)


async def test_fault18_a_fork_bomb_stays_in_its_container_and_is_gone_at_its_limit(hub: MakeHub) -> None:
    around = hub(_BOMB, pids_limit=_PIDS, cpu_limit="0.25", memory_limit="256m", timeout_seconds=6, stop_grace_seconds=0.5)
    around.add_program("short", "print('short')")
    async with around.runner():
        before = await median_seconds(around, "short", 3)
        bomb = await around.submit()
        await around.is_running(bomb)

        async def processes() -> int:
            return len(docker("top", bomb, "-o", "pid").splitlines()) - 1

        await eventually(processes, lambda count: count >= _PIDS - 4, within_seconds=5)
        meanwhile = await median_seconds(around, "short", 3)
        assert await processes() <= _PIDS
        ended = await around.ended(bomb)
        await eventually(lambda: asyncio.to_thread(containers, execution_id=bomb), lambda left: left == [])

    assert (ended.status, ended.stdout.total_bytes) == (Status.TIMEOUT, 4)
    assert ended.started_at is not None
    assert 6 <= (ended.ended_at - ended.started_at).total_seconds() < 6 + 0.5 + 2
    # The bomb has a quarter of a core; anything far above that would be a leak. The machine's own noise is much larger.
    assert meanwhile < 2.5 * before + 0.5, (before, meanwhile)


async def test_fault27_orphans_are_reaped_while_it_runs_and_daemons_go_with_their_container(hub: MakeHub) -> None:
    marker = f"daemon-of-{os.getpid()}"
    around = hub(
        f"""
        import os, time

        def orphan(lives):
            if (child := os.fork()) == 0:
                if os.fork() == 0:
                    os.setsid()
                    lives()
                    os._exit(0)
                os._exit(0)
            os.waitpid(child, 0)

        for _ in range(20):
            orphan(lambda: None)
        orphan(lambda: os.execvp("sh", ["sh", "-c", "while :; do sleep 60; done", "{marker}"]))
        time.sleep(0.5)
        stats = [open(f"/proc/{{pid}}/stat").read() for pid in os.listdir("/proc") if pid.isdigit()]
        states = [stat.rsplit(")", 1)[1].split()[0] for stat in stats]
        print(states.count("Z"), len(states), flush=True)
        time.sleep(1)
        """
    )
    async with around.runner():
        execution_id = await around.submit()
        await around.is_running(execution_id)
        await eventually(lambda: asyncio.to_thread(processes_with, marker), within_seconds=10)
        ended = await around.ended(execution_id)

    assert ended.status is Status.COMPLETED
    # What is left are init, the program, the daemon, and the sleep of that.
    assert ended.stdout.content == "0 4\n"
    assert processes_with(marker) == []


def processes_with(word: str) -> list[str]:
    """Processes of this machine with a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue  # it is gone
        if word.encode() in line:
            found.append(line.decode(errors="replace"))
    return found
