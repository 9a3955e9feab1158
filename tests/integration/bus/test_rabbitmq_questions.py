"""Leases and questions across lost connections, and what a full or a frozen runner does to who asks."""

import asyncio
import time

import aio_pika
import pytest

from bus import topology
from bus.errors import BusUnavailable
from bus.ports import Bus
from bus.rabbitmq.bus import RabbitBus
from tests.integration.bus.amqp import channel_to, publish, ready_and_consumers
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import soon
from tests.integration.bus.test_leases import following, lease, until_live
from tests.integration.bus.test_questions import answering, echo
from tests.support.broker import OwnBroker
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]


async def lose_connections(broker: OwnBroker, buses: Buses) -> None:
    vhost = buses.url.rpartition("/")[2]
    await asyncio.to_thread(broker.control, "close_all_connections", "--vhost", vhost, "a test")


async def test_who_starts_late_knows_the_leases_written_before(rabbits: Buses) -> None:
    runner = await rabbits.open()
    await runner.leases.keep(lease("one"))
    await runner.leases.keep(lease("left"))
    await runner.leases.keep(lease("left", leaves=True))
    gateway = await rabbits.open()
    assert gateway.leases.live() == []
    async with following(gateway):
        await until_live(gateway, "one")


async def test_leases_are_followed_across_lost_connections(own_broker: OwnBroker, rabbits: Buses) -> None:
    runner, gateway = await rabbits.open(), await rabbits.open()

    async def keep(runner_id: str) -> bool:
        try:
            await runner.leases.keep(lease(runner_id))
        except BusUnavailable:
            return False
        return True

    async with following(gateway):
        await keep("one")
        await until_live(gateway, "one")
        await lose_connections(own_broker, rabbits)
        await eventually(lambda: keep("two"))
        await until_live(gateway, "one", "two")


async def test_what_is_no_lease_is_skipped_and_counted(rabbits: Buses) -> None:
    bus = await rabbits.open()
    assert isinstance(bus, RabbitBus)
    bad = [b"", b"no json", b"{}", b"[" * 10_000]
    async with following(bus), channel_to(rabbits.url) as channel:
        for body in bad:
            await publish(channel, topology.REPORTS, topology.LEASE_KEY, aio_pika.Message(body))
        await publish(channel, topology.REPORTS, "lease.tick", aio_pika.Message(b"another kind"))
        for fields in ({"runner_id": "a b"}, {"ttl_seconds": 1e9}, {"max_concurrent_executions": 0}):
            await bus.leases.keep(lease(**fields))
        await bus.leases.keep(lease("good"))
        await until_live(bus, "good")
    assert bus.leases.malformed == len(bad) + 3


async def test_a_runner_answers_again_after_its_connection_was_lost(own_broker: OwnBroker, rabbits: Buses) -> None:
    runner, gateway = await rabbits.open(), await rabbits.open()

    async def answers() -> bool:
        try:
            return await gateway.questions.ask(["one"], b"?", limit_seconds=1.0) == {"one": b"you asked: ?"}
        except BusUnavailable:
            return False

    async with answering(runner, "one"):
        for _ in range(2):
            await lose_connections(own_broker, rabbits)
            await eventually(answers)


async def test_who_asks_is_told_when_the_connection_is_lost_meanwhile(own_broker: OwnBroker, rabbits: Buses) -> None:
    runner, gateway = await rabbits.open(), await rabbits.open()
    asked = asyncio.Event()

    async def hang(question: bytes) -> bytes:
        asked.set()
        await asyncio.sleep(60)
        return b""

    async with answering(runner, "one", hang):
        asking = asyncio.create_task(gateway.questions.ask(["one"], b"?", limit_seconds=60.0))
        await soon(asked.wait())
        await lose_connections(own_broker, rabbits)
        with pytest.raises(BusUnavailable):
            await soon(asking)


async def test_who_asks_is_told_that_the_broker_is_away(own_broker: OwnBroker, rabbits: Buses) -> None:
    gateway = await rabbits.open()
    own_broker.control("delete_vhost", rabbits.url.rpartition("/")[2])
    started = time.monotonic()
    with pytest.raises(BusUnavailable):
        await gateway.questions.ask(["one"], b"?", limit_seconds=2.0)
    assert time.monotonic() - started < 4.0


async def deaf(channel: aio_pika.abc.AbstractChannel, runner_id: str) -> str:
    """A runner's queue of which nothing is read, as while the runner is frozen; its name."""
    queue = topology.question_queue(runner_id, "nonce")
    declared = await channel.declare_queue(queue.name, exclusive=True, arguments=dict(queue.arguments))
    await declared.bind(topology.QUESTIONS, topology.question_key(runner_id))
    return queue.name


async def test_a_frozen_runner_costs_the_limit_and_is_asked_nothing_stale(rabbits: Buses) -> None:
    runner, gateway = await rabbits.open(), await rabbits.open()
    async with answering(runner, "awake"), channel_to(rabbits.url) as channel:
        name = await deaf(channel, "frozen")
        started = time.monotonic()
        answers = await gateway.questions.ask(["awake", "frozen"], b"?", limit_seconds=1.0)
        assert answers == {"awake": b"you asked: ?"}
        assert 0.9 < time.monotonic() - started < 3.0

        # when it wakes, nobody waits any more, and the question is gone
        async def waiting() -> int:
            return (await ready_and_consumers(channel, name))[0]

        await eventually(waiting, lambda number: number == 0)


async def test_a_runner_with_too_many_questions_is_missing_at_once(rabbits: Buses) -> None:
    gateway = await rabbits.open()
    async with channel_to(rabbits.url) as channel:
        await deaf(channel, "full")
        for _ in range(topology.QUESTIONS_LENGTH):
            await publish(channel, topology.QUESTIONS, "ask.full", aio_pika.Message(b"?", expiration=60))
        started = time.monotonic()
        assert await gateway.questions.ask(["full"], b"?", limit_seconds=30.0) == {}
        async with answering(gateway, "other"):
            answers = await gateway.questions.ask(["full", "other"], b"?", limit_seconds=30.0)
        assert answers == {"other": b"you asked: ?"}
        assert time.monotonic() - started < 10.0


async def test_no_queue_outlives_the_question_or_the_runner(rabbits: Buses, own_broker: OwnBroker) -> None:
    bus = await rabbits.open()

    async def queues() -> list[str]:
        vhost = rabbits.url.rpartition("/")[2]
        listed = await asyncio.to_thread(own_broker.control, "list_queues", "--vhost", vhost, "name")
        return [name for name in listed.split() if name.startswith(("hub.questions.", "hub.answers."))]

    async with answering(bus, "one"):
        assert len(await queues()) == 1
    assert await queues() == []


async def test_what_is_no_question_harms_nobody(rabbits: Buses) -> None:
    bus: Bus = await rabbits.open()
    async with answering(bus, "one", echo), channel_to(rabbits.url) as channel:
        for message in (
            aio_pika.Message(bytes(1_000_000)),
            aio_pika.Message(b"to nobody"),
            aio_pika.Message(b"to a strange place", reply_to="amq.gen-x"),
            aio_pika.Message(b"to somebody who left", reply_to="0" * 32, correlation_id="one"),
        ):
            await publish(channel, topology.QUESTIONS, "ask.one", message)
        assert await bus.questions.ask(["one"], b"?", limit_seconds=5.0) == {"one": b"you asked: ?"}
