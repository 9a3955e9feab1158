"""A plain AMQP client beside the bus, as anybody may have one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractChannel

from bus import topology
from tests.support.broker import OwnBroker

#: Marks that fill more than two segments of the control stream.
_MARKS, _MEGABYTE = 40, 1_000_000


@asynccontextmanager
async def channel_to(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel on a connection of its own."""
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel(on_return_raises=True)


async def publish(channel: AbstractChannel, exchange: str, key: str, message: aio_pika.Message) -> None:
    """Publish and wait for the confirm."""
    await (await channel.get_exchange(exchange)).publish(message, key)


async def ready_and_consumers(channel: AbstractChannel, queue: str) -> tuple[int, int]:
    """How many messages wait in a queue, and how many consumers it has."""
    declared = (await channel.declare_queue(queue, passive=True)).declaration_result
    return declared.message_count or 0, declared.consumer_count or 0


async def cut_control(broker: OwnBroker, url: str) -> None:
    """Let the oldest records of the control stream go, as their age does after some days."""
    limit = ("trim", f"^{topology.CONTROL}$", '{"max-length-bytes": 1000000}')
    await asyncio.to_thread(broker.control, "set_policy", "--vhost", url.rpartition("/")[2], "--apply-to", "queues", *limit)
    async with channel_to(url) as channel:
        reports = await channel.get_exchange(topology.REPORTS)
        for _ in range(_MARKS):
            await reports.publish(aio_pika.Message(b"x" * _MEGABYTE), topology.MARK_KEY)


async def dead_letters(channel: AbstractChannel, number: int) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """So many dead letters, the oldest first."""
    found: list[aio_pika.abc.AbstractIncomingMessage] = []
    await channel.set_qos(prefetch_count=number)
    queue = await channel.get_queue(topology.DEAD)
    async with queue.iterator(timeout=15, arguments={"x-stream-offset": "first"}) as letters:
        async for letter in letters:
            await letter.ack()
            found.append(letter)
            if len(found) == number:
                break
    return found
