"""Raw aio-pika: durable queue, persistent messages, confirms. ``BENCH_QUEUE_TYPE`` is ``quorum``, as ours, or ``classic``."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractQueue

from hub.event_loop import EventLoop, run
from tests.benchmarks.peers.ping import amqp_url, ping
from tests.benchmarks.peers.sending import SendAsync, serve_async

_QUEUE = "bench"


async def _declared(channel: AbstractChannel) -> AbstractQueue:
    return await channel.declare_queue(
        _QUEUE, durable=True, arguments={"x-queue-type": os.environ.get("BENCH_QUEUE_TYPE", "quorum")}
    )


@asynccontextmanager
async def sender() -> AsyncIterator[SendAsync]:
    """Publishes to the queue."""
    async with await aio_pika.connect(amqp_url()) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await _declared(channel)

        async def send(port: int, number: int) -> None:
            body = json.dumps({"port": port, "number": number}).encode()
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, _QUEUE, mandatory=True)

        yield send


async def work() -> None:
    """Consumes, for ever."""
    async with await aio_pika.connect(amqp_url()) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        async with (await _declared(channel)).iterator() as messages:
            async for message in messages:
                order = json.loads(message.body)
                ping(order["port"], order["number"])
                await message.ack()


if __name__ == "__main__":
    if "worker" in sys.argv:
        run(work(), EventLoop.AUTO)
    else:
        serve_async(sender())
