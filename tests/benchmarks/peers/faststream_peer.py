"""FastStream, whose aio-pika channel confirms."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faststream import FastStream
from faststream.rabbit import RabbitBroker, RabbitQueue

from tests.benchmarks.peers.ping import amqp_url, ping
from tests.benchmarks.peers.sending import SendAsync, serve_async

broker = RabbitBroker(amqp_url())
app = FastStream(broker)
_QUEUE = RabbitQueue("bench", durable=True)


@broker.subscriber(_QUEUE)
async def reached(order: dict[str, int]) -> None:
    """The handler."""
    ping(order["port"], order["number"])


@asynccontextmanager
async def sender() -> AsyncIterator[SendAsync]:
    """Publishes to the queue."""
    async with RabbitBroker(amqp_url()) as publisher:
        await publisher.declare_queue(_QUEUE)

        async def send(port: int, number: int) -> None:
            await publisher.publish({"port": port, "number": number}, _QUEUE, persist=True)

        yield send


if __name__ == "__main__":
    serve_async(sender())
