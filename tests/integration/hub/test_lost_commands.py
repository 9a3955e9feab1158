"""Commands that no runner will ever be given, on real buses: their executions end, and those of others do not."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest

from bus import topology
from bus.embedded.bus import EmbeddedBus
from bus.messages import Lease, StreamName
from bus.ports import Bus
from hub.ender import Ender
from hub.lost_commands import LostCommands
from hub.view import View
from schemas.executions import Execution
from schemas.reasons import Reason
from schemas.status import Status
from schemas.times import steady_now, utc_now
from tests.integration.bus.amqp import channel_to, publish
from tests.integration.bus.conftest import Buses, rabbits
from tests.integration.bus.messages import claim, command, take
from tests.support.wait import eventually

__all__ = ["rabbits"]

#: Seconds of calm after which something is lost, here.
CALM = 1.5


class Hub:
    """What the holder of the lock does, and a runner's word, on a real bus."""

    def __init__(self, bus: Bus, view: View, runner: Bus) -> None:
        self.bus = bus
        self.view = view
        self.runner = runner

    @classmethod
    @asynccontextmanager
    async def on(
        cls, bus: Bus, folder: Path, *, runner: Bus | None = None, calm: float = CALM, again: int = 0
    ) -> AsyncIterator["Hub"]:
        view = View(folder / "view.db", clock=steady_now)
        await view.open()
        hub = cls(bus, view, runner or bus)
        lost = LostCommands(
            bus.commands,
            bus.decisions,
            bus.streams,
            bus.leases,
            bus.dead_letters,
            view,
            look_seconds=0.1,
            calm_seconds=calm,
            gap_seconds=0,
            most_again=again,
        )
        works = [
            bus.leases.follow(),
            bus.dead_letters.follow(),
            Ender(bus.decisions, bus.streams, view).run(),
            lost.run(),
            hub._project(),
            hub._keep_lease(),
        ]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield hub
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await view.close()
            assert {type(result) for result in results} == {asyncio.CancelledError}, results

    async def _project(self) -> None:
        async for batch in self.bus.streams.read(StreamName.LOG, None):
            await self.view.apply_log(batch, keep_finished=1000)

    async def _keep_lease(self) -> None:
        while True:
            await self.runner.leases.keep(
                Lease(
                    runner_id="r1",
                    epoch="e",
                    pool="default",
                    max_concurrent_executions=3,
                    started_at=utc_now(),
                    written_at=utc_now(),
                    unsettled=self.runner.commands.unsettled(),
                )
            )
            await asyncio.sleep(0.1)

    async def find(self, execution_id: str) -> Execution | None:
        return await self.view.find(execution_id)

    async def ended(self, execution_id: str) -> Execution:
        found = await eventually(
            lambda: self.find(execution_id), lambda row: row is not None and row.status.is_terminal, within_seconds=30
        )
        assert found is not None
        return found


def ids(number: int) -> Iterator[str]:
    return (str(uuid4()) for _ in range(number))


@pytest.mark.docker
@pytest.mark.rabbitmq
async def test_what_expires_in_rabbitmqs_queue_ends_as_expired(rabbits: Buses, tmp_path: Path) -> None:
    bus = await rabbits.open()
    late, waits = ids(2)
    async with Hub.on(bus, tmp_path) as hub, channel_to(rabbits.url) as channel:
        message = aio_pika.Message(b'{"program_id": "p"}', message_id=late, expiration=0.2)
        await publish(channel, topology.COMMANDS, "execute.default", message)
        execution = await hub.ended(late)
        await bus.commands.accept("default", command(waits))
        assert (execution.status, execution.reason) == (Status.FAILED, Reason.EXPIRED)
        # Redelivered or published again, it does not run.
        await bus.commands.accept("default", command(late))
        assert [(await take(bus)).message.id for _ in range(2)] == [waits, late]
        assert await bus.decisions.decide(claim(late)) == await bus.decisions.decision_for(late, 1) != claim(late)
        found = await hub.find(waits)
        assert found is not None
        assert found.status is Status.QUEUED


async def test_what_expires_on_the_embedded_bus_ends_as_expired(tmp_path: Path) -> None:
    bus = EmbeddedBus(state_dir=tmp_path, command_ttl_seconds=0.2, expire_seconds=0.1)
    await bus.open(frozenset({"default"}))
    (late,) = ids(1)
    async with Hub.on(bus, tmp_path) as hub:
        await bus.commands.accept("default", command(late))
        execution = await hub.ended(late)
        assert (execution.status, execution.reason) == (Status.FAILED, Reason.EXPIRED)
    await bus.close()


@pytest.mark.docker
@pytest.mark.rabbitmq
async def test_what_a_stranger_purges_is_lost_and_what_a_runner_has_in_hand_meanwhile_is_not(
    rabbits: Buses, tmp_path: Path
) -> None:
    bus, runner = await rabbits.open(), await rabbits.open()
    in_hand, purged, later = ids(3)
    async with Hub.on(bus, tmp_path, runner=runner) as hub, channel_to(rabbits.url) as channel:
        await bus.commands.accept("default", command(in_hand))
        delivery = await take(runner)
        await bus.commands.accept("default", command(purged))
        await eventually(lambda: hub.find(purged))
        await (await channel.get_queue(topology.work_queue("default").name)).purge()
        # A passive count of 0 says nothing while a runner has something in hand, undecided.
        await asyncio.sleep(2 * CALM)
        for execution_id in (in_hand, purged):
            assert await bus.decisions.decision_for(execution_id, 1) is None
        await runner.decisions.decide(claim(in_hand))
        await delivery.done()
        execution = await hub.ended(purged)
        assert (execution.status, execution.reason) == (Status.FAILED, Reason.COMMAND_LOST)
        await bus.commands.accept("default", command(later))
        assert (await take(runner)).message.id == later
        for execution_id in (in_hand, later):
            # The view may be behind a runner that was given the command at once.
            found = await eventually(partial(hub.find, execution_id))
            assert found is not None
            assert found.status is Status.QUEUED


@pytest.mark.docker
@pytest.mark.rabbitmq
async def test_bus4_what_the_log_took_and_the_queue_did_not_is_lost(rabbits: Buses, tmp_path: Path) -> None:
    bus = await rabbits.open()
    (ghost,) = ids(1)
    async with Hub.on(bus, tmp_path) as hub, channel_to(rabbits.url) as channel:
        queue = await channel.get_queue(topology.work_queue("default").name)
        await queue.unbind(topology.COMMANDS, "execute.default")
        await bus.commands.accept("default", command(ghost))
        await queue.bind(topology.COMMANDS, "execute.default")
        execution = await hub.ended(ghost)
        assert execution.reason is Reason.COMMAND_LOST


@pytest.mark.docker
@pytest.mark.rabbitmq
async def test_fault4_what_is_gone_from_the_queue_is_published_again_and_runs(rabbits: Buses, tmp_path: Path) -> None:
    bus = await rabbits.open()
    (gone,) = ids(1)
    async with Hub.on(bus, tmp_path, again=10) as hub, channel_to(rabbits.url) as channel:
        queue = await channel.get_queue(topology.work_queue("default").name)
        await queue.unbind(topology.COMMANDS, "execute.default")
        await bus.commands.accept("default", command(gone))
        await queue.bind(topology.COMMANDS, "execute.default")
        delivery = await take(bus)
        assert delivery.message.id == gone
        mine = claim(gone)
        assert await bus.decisions.decide(mine) == mine
        await delivery.done()
        found = await hub.find(gone)
        assert found is not None
        assert found.status is Status.QUEUED
