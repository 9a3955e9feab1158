"""The announcer's lock between processes."""

import asyncio

import aio_pika
import pytest

from bus import topology
from bus.errors import BusClosed
from bus.ports import Bus
from tests.integration.bus.amqp import channel_to, ready_and_consumers
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import report, soon, stays_silent
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]


async def position_when_held(bus: Bus) -> int | None:
    async with bus.announcements.hold() as holder:
        return holder.position


async def test_a_second_process_waits_and_takes_over_where_the_first_one_was(rabbits: Buses) -> None:
    one, other = await rabbits.open(), await rabbits.open()
    async with one.announcements.hold() as holder:
        await holder.advance(41)
        waiting = asyncio.create_task(position_when_held(other))
        await stays_silent(asyncio.shield(waiting))
        await holder.advance(42)
    assert await soon(waiting) == 42


async def test_many_processes_that_begin_at_once_leave_one_checkpoint(rabbits: Buses) -> None:
    several = [await rabbits.open() for _ in range(4)]
    assert await soon(asyncio.gather(*map(position_when_held, several))) == [None] * 4
    async with channel_to(rabbits.url) as channel:

        async def ready() -> int:
            return (await ready_and_consumers(channel, topology.ANNOUNCER))[0]

        assert await eventually(ready, lambda count: count == 1) == 1


async def test_of_several_checkpoints_the_largest_counts_and_the_others_go(rabbits: Buses) -> None:
    bus = await rabbits.open()
    async with bus.announcements.hold() as holder:
        await holder.advance(5)
    async with channel_to(rabbits.url) as channel:
        for body in (b'{"position": 9}', b'{"position": 3}', b"nonsense"):
            await channel.default_exchange.publish(aio_pika.Message(body), topology.ANNOUNCER)
        assert await soon(position_when_held(bus)) == 9

        async def ready() -> int:
            return (await ready_and_consumers(channel, topology.ANNOUNCER))[0]

        assert await eventually(ready, lambda count: count == 1) == 1


async def test_closing_the_bus_ends_the_wait_for_the_lock(rabbits: Buses) -> None:
    one, other = await rabbits.open(), await rabbits.open()
    async with one.announcements.hold():
        waiting = asyncio.create_task(position_when_held(other))
        await stays_silent(asyncio.shield(waiting))
        await other.close()
        with pytest.raises(BusClosed):
            await soon(waiting)


async def test_a_wait_for_the_lock_that_is_cancelled_leaves_it_to_others(rabbits: Buses) -> None:
    one, other = await rabbits.open(), await rabbits.open()
    async with one.announcements.hold() as holder:
        await holder.advance(1)
        waiting = asyncio.create_task(position_when_held(other))
        await stays_silent(asyncio.shield(waiting))
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
    assert await soon(position_when_held(one)) == 1


async def test_a_reply_reaches_a_queue_by_its_name(rabbits: Buses) -> None:
    bus = await rabbits.open()
    async with channel_to(rabbits.url) as channel:
        queue = await channel.declare_queue("reply.mine", exclusive=True)
        async with bus.announcements.hold() as holder:
            await holder.reply("reply.nobody", report("a"))
            await holder.reply("reply.mine", report("b"))
        message = await queue.get(timeout=5)
        assert message.message_id == "b"


async def test_a_checkpoint_is_renewed_and_the_lock_kept(rabbits: Buses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.rabbitmq.holder.RENEW_SECONDS", 0.05)
    bus = await rabbits.open()
    async with bus.announcements.hold() as holder:
        for position in range(20):
            await holder.advance(position)
            await asyncio.sleep(0.02)
        await holder.announce("execution.running.p", report("a"))
    assert await soon(position_when_held(bus)) == 19
