"""Processes start, stop and fail in an orderly way."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from hub.errors import AlreadyRunning, ServiceDied
from hub.lifecycle import Supervisor, stop_on_signals
from hub.pid_file import pid_file


async def forever() -> None:
    await asyncio.Event().wait()


async def test_sigterm_asks_to_stop() -> None:
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await stop.wait()


async def test_a_task_that_dies_ends_the_wait_with_its_name_and_cause() -> None:
    async def broken() -> None:
        raise OSError("disk on fire")

    with pytest.raises(ServiceDied, match="the projector") as died:
        async with asyncio.timeout(5), Supervisor() as supervisor:
            supervisor.start("runner", forever())
            supervisor.start("the projector", broken())
            await supervisor.wait(asyncio.Event())
    assert isinstance(died.value.__cause__, OSError)


async def test_a_task_that_just_ends_is_as_dead() -> None:
    async def short() -> None:
        return

    with pytest.raises(ServiceDied, match="config"):
        async with asyncio.timeout(5), Supervisor() as supervisor:
            supervisor.start("config", short())
            await supervisor.wait(asyncio.Event())


async def test_leaving_cancels_what_still_runs_and_waits_for_it() -> None:
    cleaned = []

    async def tidy() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    stop = asyncio.Event()
    async with Supervisor() as supervisor:
        task = supervisor.start("tidy", tidy())
        await asyncio.sleep(0)
        stop.set()
        await supervisor.wait(stop)
    assert task.cancelled()
    assert cleaned == ["up"]


def test_a_second_process_on_the_same_state_is_refused_by_the_first_ones_id(tmp_path: Path) -> None:
    path = tmp_path / "hub.pid"
    with pid_file(path):
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(AlreadyRunning, match=str(os.getpid())), pid_file(path):
            raise AssertionError("held twice")
    with pid_file(path):
        pass
