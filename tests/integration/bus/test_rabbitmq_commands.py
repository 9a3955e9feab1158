"""What RabbitMQ alone can get wrong about commands."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity

from bus import topology
from bus.errors import BusUnavailable
from bus.messages import Announcement
from bus.rabbitmq.consumer import Consumer
from tests.integration.bus.amqp import channel_to, dead_letters, publish, ready_and_consumers
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import command, read, report, soon, stays_silent, take
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]

WORK = topology.work_queue("default").name


async def test_bus5_a_runner_with_one_free_slot_holds_one_command_and_others_get_the_rest(rabbits: Buses) -> None:
    busy, free = await rabbits.open(), await rabbits.open()
    for _ in range(50):
        await busy.commands.accept("default", command())
    in_hand = await take(busy, 1)
    async with channel_to(rabbits.url) as channel:
        assert (await ready_and_consumers(channel, WORK))[0] == 49
        await in_hand.done()
        # The acknowledgement must not have brought the next one.
        ready, _ = await eventually(lambda: ready_and_consumers(channel, WORK), lambda seen: seen[1] == 0)
        assert ready == 49
    for _ in range(49):
        await (await take(free, 5)).done()
    await stays_silent(busy.commands.take("default", 1))


async def test_bus5_a_process_never_holds_more_than_its_free_slots(rabbits: Buses) -> None:
    bus = await rabbits.open()
    for _ in range(60):
        await bus.commands.accept("default", command())
    slots = 5
    async with channel_to(rabbits.url) as channel:
        left = 60
        for _ in range(10):
            running = 0
            while running < slots:
                delivery = await take(bus, slots - running)
                ready, _ = await ready_and_consumers(channel, WORK)
                assert left - ready <= slots - running, "more was taken out of the queue than could be run"
                await delivery.done()
                left -= 1
                running += 1
                ready, _ = await ready_and_consumers(channel, WORK)
                assert left - ready <= slots - running, "an acknowledgement brought one too many"


async def test_free_slots_that_become_fewer_return_what_was_pushed_ahead(rabbits: Buses) -> None:
    bus = await rabbits.open()
    for _ in range(10):
        await bus.commands.accept("default", command())
    first = await take(bus, 5)
    async with channel_to(rabbits.url) as channel:

        async def ready() -> int:
            return (await ready_and_consumers(channel, WORK))[0]

        # Of half of the slots.
        await eventually(ready, lambda count: count == 7)
        second = await take(bus, 1)
        await eventually(ready, lambda count: count == 8)
    assert first.message.id != second.message.id


async def test_a_consumer_that_leaves_slots_free_brings_one_command_after_the_other(
    rabbits: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await rabbits.open()
    await bus.commands.accept("default", command("first"))
    delivery = await take(bus, 8)
    begun: list[object] = []
    start = Consumer.start

    async def counted(*words: Any, **options: Any) -> Consumer:
        begun.append(words)
        return await start(*words, **options)

    monkeypatch.setattr(Consumer, "start", counted)
    for number in range(10):
        await delivery.done()
        await bus.commands.accept("default", command(f"next {number}"))
        delivery = await take(bus, 8)
    await delivery.done()
    # One or two where the machine is slow: a channel is only used for some seconds.
    assert len(begun) < 5


async def test_m28_a_dead_letter_holds_body_id_and_reason(rabbits: Buses) -> None:
    bus = await rabbits.open()
    await bus.commands.accept("default", command("bad one"))
    await (await take(bus)).reject("no program_id " + "x" * 5_000)
    async with channel_to(rabbits.url) as channel:
        (letter,) = await dead_letters(channel, 1)
    assert (letter.body, letter.message_id) == (command().body, "bad one")
    reason = letter.headers[topology.REASON_HEADER]
    assert isinstance(reason, str)
    assert reason.startswith("no program_id xxx")
    assert len(reason) == topology.REASON_LENGTH
    assert letter.headers[topology.ORIGIN_HEADER] == "execute.default"


async def test_m28_a_command_without_an_id_can_be_rejected(rabbits: Buses) -> None:
    bus = await rabbits.open()
    async with channel_to(rabbits.url) as channel:
        underlay = await channel.get_underlay_channel()
        # The library gives every message an id unless its own layer is left out.
        exchange = topology.COMMANDS
        properties = aio_pika.Message(b"x", message_id="to be removed").properties
        await underlay.basic_publish(b"bare", exchange=exchange, routing_key="execute.default", properties=properties)
        delivery = await take(bus)
        assert delivery.message.body == b"bare"
        await delivery.reject("no id")
        (letter,) = await dead_letters(channel, 1)
        assert letter.body == b"bare"


async def test_a_command_delivered_too_often_is_dead_lettered(rabbits: Buses) -> None:
    bus = await rabbits.open()
    await bus.commands.accept("default", command("returned"))
    for _ in range(topology.DELIVERY_LIMIT + 1):
        await (await take(bus)).give_back()
    async with channel_to(rabbits.url) as channel:
        (letter,) = await dead_letters(channel, 1)
    assert letter.message_id == "returned"
    assert letter.headers["x-first-death-reason"] == "delivery_limit"


async def test_bus2_a_full_subscriber_queue_that_refuses_blocks_no_accept_and_no_announcement(rabbits: Buses) -> None:
    bus = await rabbits.open()
    async with channel_to(rabbits.url) as channel:
        stuck = await channel.declare_queue(
            f"stuck-{uuid4()}", exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
        )
        await stuck.bind(topology.EXECUTIONS, "#")
        async with bus.announcements.hold() as holder, bus.announcements.subscribe(["#"]) as announcements:
            for number in range(5):
                await soon(holder.announce("execution.queued.p", report(str(number))))
                await soon(bus.commands.accept("default", command()))
            seen: dict[str | None, None] = {}
            while "4" not in seen:  # the first comes more than once: another channel may be what it takes
                seen[(await soon(anext(announcements))).message.id] = None
    assert list(seen) == ["0", "1", "2", "3", "4"]
    assert len(await read(bus, 5)) == 5


async def test_bus2_what_one_queue_refuses_of_several_announcements_reaches_the_others(rabbits: Buses) -> None:
    bus = await rabbits.open()
    async with channel_to(rabbits.url) as channel:
        stuck = await channel.declare_queue(
            f"stuck-{uuid4()}", exclusive=True, arguments={"x-max-length": 2, "x-overflow": "reject-publish"}
        )
        await stuck.bind(topology.EXECUTIONS, "#")
        async with bus.announcements.hold() as holder, bus.announcements.subscribe(["#"]) as announcements:
            several = [Announcement(key="execution.queued.p", message=report(str(number))) for number in range(10)]
            async with asyncio.timeout(30):
                await holder.announce_all(several)
                await holder.announce("execution.queued.p", report("after"))
            seen: set[str | None] = set()
            while "after" not in seen:
                seen.add((await soon(anext(announcements))).message.id)
    assert seen == {*map(str, range(10)), "after"}


async def test_fault12_t4_a_work_queue_that_was_deleted_is_there_again_and_consumed_within_ten_seconds(rabbits: Buses) -> None:
    bus = await rabbits.open()
    waiting = asyncio.create_task(bus.commands.take("default", 1))
    await stays_silent(asyncio.shield(waiting))
    async with channel_to(rabbits.url) as channel:
        await channel.queue_delete(WORK)

    async def consumers() -> int:
        async with channel_to(rabbits.url) as channel:
            try:
                return (await ready_and_consumers(channel, WORK))[1]
            except ChannelNotFoundEntity:
                return 0

    await eventually(consumers, lambda count: count == 1, within_seconds=10)
    message = command()
    await bus.commands.accept("default", message)
    assert (await soon(waiting)).message == message


async def test_t3_what_a_stranger_publishes_to_an_unknown_pool_is_returned(rabbits: Buses) -> None:
    await rabbits.open()
    async with channel_to(rabbits.url) as channel:
        with pytest.raises(aio_pika.exceptions.PublishError):
            await publish(channel, topology.COMMANDS, "execute.nowhere", aio_pika.Message(b"{}"))


async def test_without_a_server_open_says_so_and_may_be_tried_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    buses = Buses("amqp://hub:secret-word@127.0.0.1:9/nothing", tmp_path_factory.mktemp("nowhere"))
    bus = buses.make()
    try:
        for _ in range(2):
            with pytest.raises(BusUnavailable) as failed:
                await bus.open(frozenset({"default"}))
            assert "secret-word" not in str(failed.value)
        assert not bus.state.connected
        assert bus.state.problem is not None
        assert "secret-word" not in bus.state.problem
        started = time.monotonic()
        with pytest.raises(BusUnavailable) as failed:
            await bus.commands.accept("default", command())
        assert not failed.value.outcome_unknown
        assert time.monotonic() - started < 2
    finally:
        await buses.close()
