"""Cancels that arrive within five milliseconds of the program's own end."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from bus.messages import End
from bus.messages import StreamName as BusStream
from schemas.events import parse_event
from schemas.status import Status
from tests.integration.runner.conftest import MakeHub, docker_instance, engine, hub, identity, python_image
from tests.support.docker import containers
from tests.support.runner_fixtures import Hub, make_hub
from tests.support.wait import eventually

__all__ = ["docker_instance", "engine", "hub", "identity", "python_image"]

#: Ends in the moment in which a file of its name appears.
_ENDS_AT_A_WORD = """
    import os, time
    open("/workspace/ready-" + os.environ["EXECUTION_ID"], "w").close()
    while not os.path.exists("/workspace/go-" + os.environ["EXECUTION_ID"]):
        time.sleep(0.0005)
"""
_SLEEP_SECONDS = 0.2


async def cancel(around: Hub, execution_id: str) -> None:
    await around.bus.decisions.decide(End(execution_id=execution_id, reason="cancelled", requested_by="ana"))


def offset_seconds(number: int) -> float:
    """From five milliseconds before the end to five after it."""
    return (number % 11 - 5) / 1000


class Endings:
    """What was told of ends, each record looked at once."""

    def __init__(self, around: Hub) -> None:
        self._records = around.bus.streams_.records[BusStream.LOG]
        self._seen = 0
        self.by_execution: dict[str, list[Status]] = {}

    def look(self) -> dict[str, list[Status]]:
        """How each execution ended, as often as it did."""
        fresh, self._seen = self._records[self._seen :], len(self._records)
        for record in fresh:
            if (record.message.id or "").endswith(":end"):
                data = parse_event(record.message.body).data
                self.by_execution.setdefault(data.execution_id, []).append(data.status)
        return self.by_execution

    async def of(self, execution_id: str) -> Status:
        """How one ended, once it has."""

        async def told() -> list[Status]:
            return self.look().get(execution_id, [])

        return (await eventually(told, within_seconds=30, every_seconds=0.05))[0]

    @property
    def counts(self) -> Counter[int]:
        """How many executions have so many ends."""
        return Counter(len(statuses) for statuses in self.look().values())


async def test_fault34_of_a_thousand_cancels_around_the_end_each_leaves_one_ending(tmp_path: Path) -> None:
    around = make_hub(tmp_path, max_concurrent_executions=50)
    loop = asyncio.get_running_loop()
    endings = Endings(around)

    async def race(number: int) -> Status:
        execution_id = await around.submit(sleep=_SLEEP_SECONDS)

        async def started() -> bool:
            return around.fake.starts[execution_id] > 0

        await eventually(started, within_seconds=30, every_seconds=0.002)
        ends_at = loop.time() + _SLEEP_SECONDS
        await asyncio.sleep(ends_at + offset_seconds(number) - loop.time())
        await cancel(around, execution_id)
        return await endings.of(execution_id)

    statuses: Counter[Status] = Counter()
    async with around.runner():
        for batch in range(20):
            statuses += Counter(await asyncio.gather(*(race(50 * batch + number) for number in range(50))))
    assert statuses.keys() == {Status.COMPLETED, Status.CANCELLED}, statuses
    assert endings.counts == {1: 1000}
    assert set(around.fake.starts.values()) == {1}


@pytest.mark.docker
async def test_fault34_on_docker_a_cancel_that_meets_the_end_leaves_one_ending_and_no_container(hub: MakeHub) -> None:
    around = hub(_ENDS_AT_A_WORD, stop_grace_seconds=1, settings={"max_concurrent_executions": 4})
    folder = around.catalogues.current.project_dir / "example"
    endings = Endings(around)

    async def race(number: int) -> Status:
        execution_id = await around.submit()

        async def is_ready() -> bool:
            return (folder / f"ready-{execution_id}").exists()

        await eventually(is_ready, within_seconds=30)
        offset = offset_seconds(number)
        if offset < 0:
            cancelling = asyncio.create_task(cancel(around, execution_id))
            await asyncio.sleep(-offset)
            (folder / f"go-{execution_id}").touch()
            await cancelling
        else:
            (folder / f"go-{execution_id}").touch()
            await asyncio.sleep(offset)
            await cancel(around, execution_id)
        status = await endings.of(execution_id)
        await eventually(lambda: asyncio.to_thread(containers, execution_id=execution_id), lambda left: left == [])
        return status

    async with around.runner():
        statuses = await asyncio.gather(*(race(number) for number in range(22)))
    assert set(statuses) <= {Status.COMPLETED, Status.CANCELLED}
    assert endings.counts == {1: 22}
