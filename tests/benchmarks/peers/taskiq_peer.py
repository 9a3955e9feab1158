"""taskiq over aio-pika, which confirms."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from taskiq_aio_pika import AioPikaBroker

from tests.benchmarks.peers.ping import amqp_url, ping
from tests.benchmarks.peers.sending import SendAsync, serve_async

broker = AioPikaBroker(amqp_url())


@broker.task(task_name="bench:ping")
async def reached(port: int, number: int) -> None:
    """The handler."""
    ping(port, number)


@asynccontextmanager
async def sender() -> AsyncIterator[SendAsync]:
    """Kicks the task."""
    await broker.startup()

    async def send(port: int, number: int) -> None:
        await reached.kiq(port, number)

    yield send
    await broker.shutdown()


if __name__ == "__main__":
    serve_async(sender())
