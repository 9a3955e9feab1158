"""Streams that were trimmed or replaced, on RabbitMQ: who reads them notices, and who projects them goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import pytest

from bus import topology
from bus.errors import StreamGap
from bus.messages import StreamName
from bus.ports import Bus
from bus.rabbitmq import stream_reader
from hub.announcer import Announcer
from hub.endings import Endings
from hub.projector import Projector
from hub.view import View
from schemas.status import Status
from tests.integration.bus.amqp import channel_to, publish
from tests.integration.bus.conftest import POOLS, Buses
from tests.integration.bus.messages import collect, command, read, soon
from tests.support.records import ended, told, uid
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]

ONE, TWO, THREE = uid(1), uid(2), uid(3)


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reader, "FIRST_RECORD_SECONDS", 1.5)


@asynccontextmanager
async def projecting(bus: Bus, folder: Path) -> AsyncIterator[tuple[Projector, View]]:
    """What a gateway does with the log, the announcer with it."""
    view = View(folder / "view.db")
    await view.open()
    announcer = Announcer(bus.announcements, view, log_end=lambda: bus.streams.end(StreamName.LOG))
    projector = Projector(
        bus.streams,
        view,
        Endings(view),
        keep_finished=lambda: 100,
        on_transitions=announcer.wake,
        on_new_log=announcer.begin_anew,
    )
    tasks = [asyncio.create_task(projector.run()), asyncio.create_task(announcer.run())]
    try:
        yield projector, view
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {asyncio.CancelledError}, results
        await view.close()


async def until(view: View, execution_id: str, status: Status) -> None:
    async def seen() -> Status | None:
        row = await view.find(execution_id)
        return None if row is None else row.status

    await eventually(seen, lambda found: found is status, within_seconds=20)


async def end(bus: Bus, execution_id: str) -> None:
    record = told(ended(execution_id, program="p"))
    await bus.streams.append(StreamName.LOG, record.key, record.message)


async def replace(rabbits: Buses, queue: str) -> None:
    async with channel_to(rabbits.url) as channel:
        await channel.queue_delete(queue)
    # As the next process that starts would.
    await (await rabbits.open()).close()


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("longer", [False, True])
async def test_bus6_a_log_that_was_replaced_under_a_projector_is_said_and_projected_and_announced_from_its_beginning(
    rabbits: Buses, tmp_path: Path, *, longer: bool
) -> None:
    bus = await rabbits.open()
    async with bus.announcements.subscribe(["execution.completed.#"]) as announced:
        async with projecting(bus, tmp_path) as (_, view):
            for execution_id in (ONE, TWO):
                await bus.commands.accept("default", command(execution_id))
            await end(bus, TWO)
            await until(view, TWO, Status.COMPLETED)
            assert (await soon(anext(announced))).message.id == f"{TWO}:end"
        await replace(rabbits, topology.LOG)
        for number in range(5 if longer else 1):
            await bus.commands.accept("default", command(uid(10 + number)))
        await end(bus, ONE)
        async with projecting(bus, tmp_path) as (projector, view):
            await until(view, ONE, Status.COMPLETED)
            await until(view, uid(10), Status.QUEUED)
            assert "the log is another one than before" in (projector.gaps.problem or "")
            await until(view, TWO, Status.COMPLETED)
            assert (await soon(anext(announced))).message.id == f"{ONE}:end"
            # And it goes on from there.
            await bus.commands.accept("default", command(THREE))
            await end(bus, THREE)
            assert (await soon(anext(announced))).message.id == f"{THREE}:end"


@pytest.mark.usefixtures("_impatient")
async def test_bus6_a_gateway_with_an_empty_view_does_not_take_up_the_checkpoint_of_a_log_that_is_gone(
    rabbits: Buses, tmp_path: Path
) -> None:
    bus = await rabbits.open()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    async with bus.announcements.subscribe(["execution.queued.#"]) as announced:
        async with projecting(bus, tmp_path / "one"):
            for number in range(5):
                await bus.commands.accept("default", command(uid(10 + number)))
                await soon(anext(announced))
        await replace(rabbits, topology.LOG)
        await bus.commands.accept("default", command(ONE))
        async with projecting(bus, tmp_path / "two"):
            assert ONE in ((await soon(anext(announced))).message.id or "")


@pytest.mark.usefixtures("_impatient")
async def test_bus6_a_log_that_was_trimmed_is_said_and_read_on(
    rabbits: Buses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log's own segments are 100 MB: one with tiny ones stands in for it."""
    bus = await rabbits.open()
    name = "test.trimmed"
    monkeypatch.setitem(topology.STREAM_QUEUES, StreamName.LOG, name)
    async with channel_to(rabbits.url) as channel:
        queue = await channel.declare_queue(
            name,
            durable=True,
            arguments={"x-queue-type": "stream", "x-stream-max-segment-size-bytes": 2000, "x-max-length-bytes": 4000},
        )
        await queue.bind(topology.COMMANDS, "execute.default")
        await bus.commands.accept("default", command(ONE))
        async with projecting(bus, tmp_path) as (_, view):
            await until(view, ONE, Status.QUEUED)
            position = await view.position(StreamName.LOG)
        for number in range(100):
            await publish(channel, topology.COMMANDS, "execute.default", aio_pika.Message(b"x" * 300, message_id=str(number)))

        async def is_trimmed() -> bool:
            try:
                await collect(bus.streams.read(StreamName.LOG, position), 1)
            except StreamGap as gap:
                return not gap.replaced
            return False

        await eventually(is_trimmed, within_seconds=20)
        async with projecting(bus, tmp_path) as (projector, view):
            await bus.commands.accept("default", command(TWO))
            await until(view, TWO, Status.QUEUED)
            assert "removed before they were read" in (projector.gaps.problem or "")
            await until(view, ONE, Status.QUEUED)


async def test_bus6_a_log_that_goes_on_has_no_gap_across_processes(rabbits: Buses, tmp_path: Path) -> None:
    bus = await rabbits.open(pools=POOLS)
    for execution_id in (ONE, TWO, THREE):
        await bus.commands.accept("default", command(execution_id))
        async with projecting(bus, tmp_path) as (projector, view):
            await until(view, execution_id, Status.QUEUED)
            assert projector.gaps.problem is None
    assert len(await read(bus, 3)) == 3
