"""From the publish of a command to its handler: our bus, and plain aio-pika on a quorum queue of the same RabbitMQ.

    python -m tests.benchmarks.publish_latency amqp://user:password@host/vhost

Each sends the next one when the handler has settled the one before. The two take turns, ten at a time, in this one process.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from bus.messages import Message
from bus.open import make_bus
from bus.ports import Bus
from hub.event_loop import EventLoop, run
from hub.log_setup import set_up_logging

_BODY = b'{"program_id":"example","parameters":{"name":"somebody"}}'
_AT_ONCE = 10
_SLOTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Medians, in milliseconds."""

    ours: float
    aio_pika: float

    @property
    def ratio(self) -> float:
        """Ours in terms of the other."""
        return self.ours / self.aio_pika


#: Publish one, and the milliseconds until its handler had it.
_One = Callable[[], Awaitable[float]]


async def measure(url: str, *, messages: int = 200) -> Latencies:
    """The medians of so many messages each."""
    with tempfile.TemporaryDirectory() as folder:
        set_up_logging("INFO", log_file=Path(folder) / "log")
        (Path(folder) / "worker").mkdir()
        sender = make_bus(url, state_dir=Path(folder), name="benchmark sender")
        worker = make_bus(url, state_dir=Path(folder) / "worker", name="benchmark worker")
        try:
            for bus in (sender, worker):
                await bus.open(frozenset({"default"}))
            async with await aio_pika.connect(url) as sending, await aio_pika.connect(url) as receiving:
                plain = await _plain(await sending.channel(), await receiving.channel())
                found: dict[str, list[float]] = {"ours": [], "aio_pika": []}
                ones: dict[str, _One] = {"ours": lambda: _ours(sender, worker), "aio_pika": plain}
                for _ in range(1 + messages // _AT_ONCE):
                    for name, one in ones.items():
                        found[name] += [await one() for _ in range(_AT_ONCE)]
        finally:
            await sender.close()
            await worker.close()
    # The first ten of each found everything still to be opened.
    return Latencies(ours=median(found["ours"][_AT_ONCE:]), aio_pika=median(found["aio_pika"][_AT_ONCE:]))


async def _ours(sender: Bus, worker: Bus) -> float:
    taking = asyncio.create_task(worker.commands.take("default", _SLOTS))
    # As a runner does: it waits for the next command before that is published.
    await asyncio.sleep(0)
    began = time.perf_counter()
    message = Message(id=str(uuid4()), body=_BODY)
    accepting = asyncio.create_task(sender.commands.accept("default", message))
    delivery = await taking
    took = time.perf_counter() - began
    await accepting
    assert delivery.message.id == message.id, "something else waits there: give it an empty virtual host"
    await delivery.done()
    return took * 1000


async def _plain(sending: aio_pika.abc.AbstractChannel, receiving: aio_pika.abc.AbstractChannel) -> _One:
    await receiving.set_qos(prefetch_count=_SLOTS)
    queue = await receiving.declare_queue(f"benchmark-{uuid4()}", durable=True, arguments={"x-queue-type": "quorum"})
    handled: asyncio.Queue[float] = asyncio.Queue()

    async def handle(message: AbstractIncomingMessage) -> None:
        handled.put_nowait(time.perf_counter())
        await message.ack()

    await queue.consume(handle)

    async def one() -> float:
        began = time.perf_counter()
        message = aio_pika.Message(_BODY, message_id=str(uuid4()), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        publishing = asyncio.create_task(sending.default_exchange.publish(message, queue.name))
        took = await handled.get() - began
        await publishing
        return took * 1000

    return one


if __name__ == "__main__":
    latencies = run(measure(sys.argv[1]), EventLoop.AUTO)
    print(f"ours {latencies.ours:.2f} ms, aio-pika {latencies.aio_pika:.2f} ms: {latencies.ratio:.2f}")  # noqa: T201
