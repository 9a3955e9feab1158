"""Everything comes again and again and in any order: nothing happens twice. And poison among it."""

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import aio_pika
import pytest

from bus import topology
from bus.messages import Message, Record, StreamName
from bus.ports import Bus
from hub.endings import Endings
from hub.projector import Projector
from hub.view import View
from runner.identity import Identity
from schemas.ids import new_execution_id
from schemas.status import Status
from tests.integration.bus.amqp import channel_to
from tests.integration.bus.conftest import Buses, bus, buses, rabbits
from tests.integration.bus.test_poison import batched, sort_out
from tests.support.broker import amqp_url
from tests.support.hub_bus import FakeStreams
from tests.support.records import asked, ended, running, told, uid
from tests.support.runner_fixtures import Hub, make_hub
from tests.support.wait import eventually

__all__ = ["amqp_url", "bus", "buses", "rabbits"]

pytestmark = pytest.mark.timeout(180)

T = TypeVar("T")

COMMANDS = 250
EXECUTIONS = 1_700
ENDINGS = (Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.CANCELLED)
BODY = json.dumps({"program_id": "example"}).encode()


def replayed(items: Sequence[T], seed: int) -> list[T]:
    """Each one to five times, in a random order that is the same each time."""
    chance = random.Random(seed)
    many = [item for item in items for _ in range(chance.randint(1, 5))]
    chance.shuffle(many)
    return many


async def all_ended(hub: Hub, wanted: int, bus: Bus) -> None:
    """Wait until so many executions were started, and nothing is left in the queue."""

    async def seen() -> tuple[int, int]:
        return len(hub.fake.starts), await bus.commands.waiting("default")

    await eventually(seen, lambda now: now[0] >= wanted and now[1] == 0, within_seconds=60, every_seconds=0.2)


async def test_fault10_each_command_delivered_one_to_five_times_in_any_order_is_started_once(bus: Bus, tmp_path: Path) -> None:
    hub = make_hub(tmp_path, max_concurrent_executions=20)
    hub.bus = bus  # type: ignore[assignment]
    ids = [new_execution_id() for _ in range(COMMANDS)]
    for some in batched([Message(id=execution_id, body=BODY) for execution_id in replayed(ids, seed=10)], 50):
        await asyncio.gather(*(bus.commands.accept("default", message) for message in some))
    async with hub.runner():
        await all_ended(hub, COMMANDS, bus)
    assert dict(hub.fake.starts) == dict.fromkeys(ids, 1)


@pytest.mark.docker
@pytest.mark.rabbitmq
async def test_fault10_bus1_one_id_published_ten_times_at_once_by_strangers_is_started_once_by_two_runners(
    rabbits: Buses, tmp_path: Path
) -> None:
    """None of the ten deliveries says that it is a repeat: the first claim decides."""
    hubs = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        hub = make_hub(tmp_path / str(number), max_concurrent_executions=10)
        hub.bus = await rabbits.open()  # type: ignore[assignment]
        hub.identity = Identity("test-instance", f"runner-{number}")
        hubs.append(hub)
    engine = hubs[1].engine = hubs[0].fake  # what either starts is counted in one place
    message_id = new_execution_id()

    async def publish() -> None:
        async with channel_to(rabbits.url) as channel:
            exchange = await channel.get_exchange(topology.COMMANDS, ensure=False)
            await exchange.publish(aio_pika.Message(BODY, message_id=message_id), "execute.default")

    async with hubs[0].runner(), hubs[1].runner():
        await asyncio.gather(*(publish() for _ in range(10)))
        await all_ended(hubs[0], 1, await rabbits.open())
        last = new_execution_id()
        await hubs[0].publish(last, {"program_id": "example"})
        await all_ended(hubs[0], 2, await rabbits.open())
    assert dict(engine.starts) == {message_id: 1, last: 1}


def the_log() -> list[Record]:
    """Three records an execution."""
    records: list[Record] = []
    for number in range(EXECUTIONS):
        execution_id = uid(number)
        records += [asked(execution_id), told(running(execution_id)), told(ended(execution_id, ENDINGS[number % 4]))]
    return records


async def test_fault10_five_thousand_records_read_one_to_five_times_in_any_order_count_once(tmp_path: Path) -> None:
    view = View(tmp_path / "view.db")
    await view.open()
    streams = FakeStreams(batch_size=500)
    log = replayed(the_log(), seed=10)
    streams.write(StreamName.LOG, *log)
    projector = Projector(streams, view, Endings(view), keep_finished=lambda: 10_000, on_transitions=lambda: None)
    task = asyncio.create_task(projector.run())
    try:

        async def place() -> int:
            position = await view.position(StreamName.LOG)
            return -1 if position is None else position.offset

        await eventually(place, lambda offset: offset == len(log) - 1, within_seconds=60, every_seconds=0.2)
        statistics = await view.statistics()
        assert statistics.total == EXECUTIONS
        transitions = []
        position: int | None = None
        while batch := await view.transitions_after(position, 1_000):
            transitions += batch
            position = batch[-1].offset
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await view.close()
    # Each execution ends once for subscribers too, and nothing of it is told after that.
    words: dict[str, list[str]] = {}
    for transition in transitions:
        words.setdefault(str(json.loads(transition.message.body)["subject"]), []).append(transition.key.split(".")[1])
    assert len(words) == EXECUTIONS
    for told_words in words.values():
        assert len(set(told_words)) == len(told_words)
        assert told_words[-1] in {ending.value for ending in ENDINGS}


@pytest.mark.docker
@pytest.mark.rabbitmq
async def test_fault11_of_a_thousand_garbage_bodies_among_a_thousand_commands_each_ends_where_it_belongs(
    rabbits: Buses, tmp_path: Path
) -> None:
    await sort_out(await rabbits.open(), tmp_path, 1_000)
