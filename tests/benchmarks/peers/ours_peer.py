"""Our bus: a command accepted into work queue and log at once, taken, claimed and settled. Its handler pings when it has the
command, and again when the claim has been read back and the program could be started.
"""

import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bus.messages import Claim, Message
from bus.open import make_bus
from bus.ports import Bus
from hub.event_loop import EventLoop, run
from tests.benchmarks.peers.ping import SECOND, amqp_url, ping
from tests.benchmarks.peers.sending import SendAsync, serve_async

_POOL = "default"
#: Free slots of the worker.
_SLOTS = 10


@asynccontextmanager
async def _bus(name: str) -> AsyncIterator[Bus]:
    state_dir = Path(os.environ["BENCH_STATE_DIR"]) / name
    state_dir.mkdir(parents=True, exist_ok=True)
    bus = make_bus(amqp_url(), state_dir=state_dir, name=name)
    try:
        await bus.open(frozenset({_POOL}))
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def sender() -> AsyncIterator[SendAsync]:
    """Accepts commands, as the gateway does."""
    async with _bus("sender") as bus:

        async def send(port: int, number: int) -> None:
            body = json.dumps({"program_id": "bench", "parameters": {"port": port, "number": number}}).encode()
            await bus.commands.accept(_POOL, Message(id=str(uuid.uuid4()), body=body))

        yield send


async def work() -> None:
    """Takes commands, as the runner does, for ever."""
    epoch = str(uuid.uuid4())
    async with _bus("worker") as bus:
        while True:
            delivery = await bus.commands.take(_POOL, _SLOTS)
            order = json.loads(delivery.message.body)["parameters"]
            ping(order["port"], order["number"])
            claim = Claim(
                execution_id=delivery.message.id or "", attempt=1, epoch=epoch, nonce=uuid.uuid4().hex, digest="of nothing"
            )
            await bus.decisions.decide(claim)
            ping(order["port"], order["number"] + SECOND)
            await delivery.done()


if __name__ == "__main__":
    if "worker" in sys.argv:
        run(work(), EventLoop.AUTO)
    else:
        serve_async(sender(), second=True)
