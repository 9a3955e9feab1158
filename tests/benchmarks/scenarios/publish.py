"""From the publish of a command to its handler: our bus beside what people use for tasks, all on the same RabbitMQ."""

import asyncio
from contextlib import AsyncExitStack

from tests.benchmarks import peer
from tests.benchmarks.bench import Bench
from tests.benchmarks.interleaving import turns

NAME = "publish"
KEYS = ("publish_vs_aio_pika", "publish_vs_celery")

#: Messages of one peer in its turn: few, so that what else the machine does hits all alike.
_AT_ONCE = 5
_WARM_UP = 30


async def play(bench: Bench, number: int) -> None:
    """One round: every peer is there, and each sends a few when its turn comes."""
    folder = bench.folder / "peers" / str(number)
    async with AsyncExitStack() as stack:
        peers = {}
        for name in peer.WORKERS:
            url = await asyncio.to_thread(bench.broker.new_vhost_url)
            peers[name] = await stack.enter_async_context(peer.opened(name, url, folder / name))
        for one in peers.values():
            await one.send(_WARM_UP)
        for turn in turns(list(peers), bench.options.size(24, 8), seed=bench.options.seed * 1000 + number):
            for name in turn:
                told = await peers[name].send(_AT_ONCE)
                bench.record(f"publish_ms/{name}", number, *told["handler_ms"])
                bench.record(f"enqueued_per_second/{name}", number, *(1000 / took for took in told["confirmed_ms"]))
                if told["second_ms"]:
                    bench.record(f"publish_ms/{name}_claimed", number, *told["second_ms"])
