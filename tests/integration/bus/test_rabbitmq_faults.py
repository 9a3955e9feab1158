"""Across a restart of the broker, lost connections, an alarm, and what hostile publishers send."""

import asyncio
import struct
import time
from collections.abc import Awaitable
from contextlib import aclosing
from uuid import uuid4

import aiormq
import pytest
from pamqp import commands

from bus import topology
from bus.errors import BusUnavailable
from bus.messages import StreamName
from bus.ports import Bus
from tests.integration.bus.amqp import channel_to
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import claim, collect, command, read, report, soon, stays_silent, take
from tests.support.broker import OwnBroker
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]


async def test_fault4_nothing_is_lost_across_a_restart_and_who_waits_goes_on(own_broker: OwnBroker, rabbits: Buses) -> None:
    """A stopped broker: refusals within two seconds. A started one: everything that was promised is there, and waits go on."""
    # Given commands, decisions, a log, and somebody who waits for each
    bus = await rabbits.open()
    await bus.open(frozenset({"other"}))
    before = [command() for _ in range(3)]
    for message in before:
        await bus.commands.accept("default", message)
    decided = claim(str(uuid4()))
    await bus.decisions.decide(decided)
    in_hand = await take(bus, 1)
    waiting = asyncio.create_task(bus.commands.take("other", 1))
    await stays_silent(asyncio.shield(waiting))
    async with (
        aclosing(bus.streams.read(StreamName.LOG, None)) as batches,  # type: ignore[type-var]
        bus.announcements.subscribe(["#"], name="billing") as named,
        bus.announcements.subscribe(["#"]) as unnamed,
    ):
        seen = await collect(batches, 3)
        reading = asyncio.create_task(collect(batches, 2, within_seconds=100))
        listening = asyncio.ensure_future(anext(named))
        async with bus.announcements.hold() as holder:
            await holder.advance(2)

            # When the broker stops
            await asyncio.to_thread(own_broker.stop)
            assert bus.state.connected is False
            started = time.monotonic()
            with pytest.raises(BusUnavailable) as refused:
                await bus.commands.accept("default", command())
            assert not refused.value.outcome_unknown
            assert time.monotonic() - started < 2
            started = time.monotonic()
            with pytest.raises(BusUnavailable):
                await bus.commands.waiting("default")
            assert time.monotonic() - started < 2
            with pytest.raises(BusUnavailable):
                await holder.announce("execution.running.p", report("x"))
            with pytest.raises(BusUnavailable):
                await soon(anext(unnamed))
            await in_hand.done()  # no error: the command comes again, and its decision stands

        # and starts again
        await asyncio.to_thread(own_broker.start)

        async def connected() -> bool:
            return bus.state.connected

        await eventually(connected, within_seconds=30)

        # Then the waits go on
        later = command()
        await bus.commands.accept("other", later)
        assert (await soon(waiting)).message == later
        await bus.streams.append(StreamName.LOG, "execution.running.p", report("later"))
        seen += await soon(reading)
        assert [record.message.id for record in seen] == [*(message.id for message in before), later.id, "later"]
        async with bus.announcements.hold() as holder:
            assert holder.position == 2
            await holder.announce("execution.running.p", report("announced"))
        assert (await soon(listening)).message.id == "announced"

        # and nothing is lost
        taken = [await take(bus, 3) for _ in before]
        assert {delivery.message.id for delivery in taken} == {message.id for message in before}
        assert await soon(bus.decisions.decide(claim(decided.execution_id))) == decided
    fresh = await rabbits.open()
    assert await soon(fresh.decisions.decide(claim(decided.execution_id))) == decided
    assert [record.message.id for record in await read(fresh, 5)] == [record.message.id for record in seen]


async def lose_connections(broker: OwnBroker, buses: Buses) -> None:
    vhost = buses.url.rpartition("/")[2]
    await asyncio.to_thread(broker.control, "close_all_connections", "--vhost", vhost, "a test")


async def test_a_reader_has_no_gap_and_no_repeat_across_lost_connections(own_broker: OwnBroker, rabbits: Buses) -> None:
    reader, writer = await rabbits.open(), await rabbits.open()
    ids: list[str] = []

    async def write() -> None:
        while True:
            ids.append(str(len(ids)))
            await writer.streams.append(StreamName.LOG, "execution.running.p", report(ids[-1]))
            await asyncio.sleep(0.005)

    async with aclosing(reader.streams.read(StreamName.LOG, None)) as batches:  # type: ignore[type-var]
        writing = asyncio.create_task(write())
        seen = await collect(batches, 50)
        for _ in range(3):
            await lose_connections(own_broker, rabbits)
            seen += await collect(batches, 100)
        writing.cancel()
        await asyncio.wait({writing})
    offsets = [record.position.offset for record in seen]
    assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
    # An append that was tried again may stand there twice, next to itself: that is for readers to recognise.
    unique = list(dict.fromkeys(record.message.id for record in seen))
    assert unique == ids[: len(unique)]


async def test_commands_are_decided_once_across_lost_connections(own_broker: OwnBroker, rabbits: Buses) -> None:
    """Two runners, a publisher, and connections that keep breaking: each command is won by exactly one claim."""
    publisher = await rabbits.open()
    won: list[str] = []

    async def run(bus: Bus) -> None:
        while True:
            delivery = await bus.commands.take("default", 2)
            assert delivery.message.id is not None
            wanted = claim(delivery.message.id)
            if await bus.decisions.decide(wanted) == wanted:
                won.append(delivery.message.id)
            await delivery.done()

    runners = [asyncio.create_task(run(await rabbits.open())) for _ in range(2)]
    accepted: list[str] = []
    for round_ in range(3):
        for _ in range(20):
            message = command()
            try:
                await publisher.commands.accept("default", message)
            except BusUnavailable:
                await asyncio.sleep(0.1)
                await publisher.commands.accept("default", message)
            accepted.append(message.id or "")
        if round_ < 2:
            await lose_connections(own_broker, rabbits)

    async def winners() -> int:
        assert not any(runner.done() for runner in runners)
        return len(set(won))

    await eventually(winners, lambda count: count == len(accepted), within_seconds=30)
    assert sorted(won) == sorted(accepted)
    for runner in runners:
        runner.cancel()
    await asyncio.wait(runners)


async def position_when_held(bus: Bus) -> int | None:
    async with bus.announcements.hold() as holder:
        return holder.position


async def test_bus7_who_has_lost_the_lock_can_not_publish_any_more(own_broker: OwnBroker, rabbits: Buses) -> None:
    one, other = await rabbits.open(), await rabbits.open()
    async with other.announcements.subscribe(["#"], name="billing") as announcements:
        async with one.announcements.hold() as holder:
            await holder.advance(7)
            await holder.announce("execution.running.p", report("before"))
            successor = asyncio.create_task(position_when_held(other))
            await stays_silent(asyncio.shield(successor))
            await lose_connections(own_broker, rabbits)
            await eventually(lambda: refused(holder.announce("execution.running.p", report("after"))), within_seconds=20)
            with pytest.raises(BusUnavailable):
                await holder.advance(8)
            assert await soon(successor) == 7
        seen = (await soon(anext(announcements))).message.id
        while seen == "before":  # it may come twice
            try:
                seen = (await asyncio.wait_for(anext(announcements), 1)).message.id
            except TimeoutError:
                break
        assert seen == "before"


async def refused(announcing: Awaitable[None]) -> bool:
    try:
        await announcing
    except BusUnavailable:
        return True
    return False


async def test_fault6_t2_under_a_memory_alarm_accept_is_refused_in_time_and_state_says_why(
    own_broker: OwnBroker, rabbits: Buses
) -> None:
    bus = await rabbits.open()
    await bus.commands.accept("default", command("before"))
    await (await take(bus, 1)).done()
    ghost = command("ghost")
    await asyncio.to_thread(own_broker.control, "set_vm_memory_high_watermark", "0.00001")
    try:
        started = time.monotonic()
        with pytest.raises(BusUnavailable) as refused:
            await bus.commands.accept("default", ghost)
        assert refused.value.outcome_unknown
        assert time.monotonic() - started < 2
        assert bus.state.problem is not None
        assert "does not confirm" in bus.state.problem
        # A retry of the same command does not pile up a second copy behind the first.
        with pytest.raises(BusUnavailable):
            await bus.commands.accept("default", ghost)
    finally:
        await asyncio.to_thread(own_broker.control, "set_vm_memory_high_watermark", "0.4")

    async def problem() -> str | None:
        return bus.state.problem

    await eventually(problem, lambda text: text is None, within_seconds=10)
    # It was taken all the same, as "outcome unknown" says, and once.
    assert (await take(bus, 1)).message.id == "ghost"
    assert [record.message.id for record in await read(bus, 2)] == ["before", "ghost"]


def properties_that_nobody_should_send() -> dict[str, bytes]:
    """Property flags and values as they travel, which RabbitMQ lets through."""
    deep = b""
    for _ in range(2_000):
        deep = b"\x01aF" + struct.pack(">I", len(deep)) + deep
    table = struct.pack(">I", len(deep)) + deep
    return {
        "text that is not UTF-8": struct.pack(">H", 0x0080) + b"\x03\xff\xfe\x00",
        "as much as fits of what is not UTF-8": struct.pack(">H", 0x0480) + (b"\xff" + b"\xff" * 255) * 2,
        "a correlation id that is not UTF-8": struct.pack(">H", 0x0400) + b"\x02\xc3\x28",
        "a time in a far future": struct.pack(">H", 0x0040) + struct.pack(">Q", 2**63 - 1),
        "a time beyond all": struct.pack(">H", 0x0040) + struct.pack(">Q", 2**64 - 1),
        "headers as deep as a well": struct.pack(">H", 0x2000) + table,
        "a header's name that is not UTF-8": struct.pack(">H", 0x2000) + struct.pack(">I", 5) + b"\x02\xff\xfet\x01",
        "a header's time beyond all": struct.pack(">H", 0x2000)
        + struct.pack(">I", 11)
        + b"\x01tT"
        + struct.pack(">Q", 2**63 - 1),
    }


class RawProperties(commands.Basic.Properties):
    """Properties that are written as given."""

    raw: bytes = b""

    def marshal(self) -> bytes:
        return self.raw


@pytest.mark.parametrize("case", properties_that_nobody_should_send())
async def test_no_property_of_a_message_keeps_readers_away(rabbits: Buses, case: str) -> None:
    bus = await rabbits.open()
    bad = properties_that_nobody_should_send()[case]
    for exchange, key in (
        (topology.COMMANDS, "execute.default"),
        (topology.COMMANDS, topology.CANCEL_KEY),
        (topology.REPORTS, "execution.running.p"),
    ):
        try:
            async with channel_to(rabbits.url) as channel:
                underlay = await channel.get_underlay_channel()
                await publish_raw(underlay, exchange, key, bad)
        except (aiormq.exceptions.AMQPError, RuntimeError, asyncio.CancelledError):
            continue  # then the broker did not let it through
    good = command("good")
    await bus.commands.accept("default", good)
    taken = set()
    while "good" not in taken:
        delivery = await take(bus, 3)
        taken.add(delivery.message.id)
        await delivery.reject("a test")
    wanted = claim(str(uuid4()))
    assert await soon(bus.decisions.decide(wanted)) == wanted
    async with aclosing(bus.streams.read(StreamName.LOG, None)) as batches:  # type: ignore[type-var]
        found: list[str | None] = []
        while "good" not in found:
            found += [record.message.id for record in await collect(batches, 1)]
    assert bus.state.problem is None


async def publish_raw(channel: aiormq.abc.AbstractChannel, exchange: str, key: str, properties: bytes) -> None:
    raw = RawProperties(message_id="x")
    raw.raw = properties
    await asyncio.wait_for(channel.basic_publish(b"{}", exchange=exchange, routing_key=key, properties=raw), 5)


async def test_a_named_subscriber_misses_nothing_across_a_lost_connection(own_broker: OwnBroker, rabbits: Buses) -> None:
    subscriber, announcer = await rabbits.open(), await rabbits.open()
    async with subscriber.announcements.subscribe(["#"], name="billing") as announcements:
        await lose_connections(own_broker, rabbits)
        async with announcer.announcements.hold() as holder:
            for message_id in "abc":
                await holder.announce("execution.queued.p", report(message_id))
        assert [(await soon(anext(announcements))).message.id for _ in range(3)] == ["a", "b", "c"]


async def test_a_report_that_nothing_takes_is_not_lost_in_silence(rabbits: Buses) -> None:
    bus = await rabbits.open()
    async with channel_to(rabbits.url) as channel:
        await channel.queue_delete(topology.LOG)
    with pytest.raises(BusUnavailable, match="no stream"):
        await soon(bus.streams.append(StreamName.LOG, "execution.running.p", report("a")))
