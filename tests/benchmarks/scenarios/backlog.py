"""A gateway's memory, and how long its answers take, while more and more executions wait. No runner is there, so all do.

Commands are published onto the bus, as any AMQP client may; the gateway reads them into its view. After the rounds, once.
"""

import asyncio
import json
import time
import uuid
from functools import partial
from typing import Any

import aio_pika

from tests.benchmarks.bench import Bench
from tests.benchmarks.client import Client
from tests.benchmarks.hubs import BenchHub
from tests.benchmarks.processes import until_quiet
from tests.benchmarks.samples import percentile
from tests.support.wait import eventually

NAME = "backlog"
KEYS = ("memory_million",)

_STEPS = (1_000, 10_000, 100_000, 1_000_000)
#: Publishes that wait for their confirm.
_IN_FLIGHT = 500
#: Seconds that the gateway may lag behind the last publish; it reads some thousands a second.
_READ_SECONDS = 900.0
_LOOKS = 100


async def play(bench: Bench, number: int) -> None:
    """Fill the queue step by step, and look."""
    steps = [step for step in _STEPS if step <= bench.options.backlog]
    if bench.options.backlog < _STEPS[-1]:
        steps += [bench.options.backlog]
        bench.missing(f"gateway_mib/{_STEPS[-1]}", f"the backlog of this run ended at {bench.options.backlog}")
    url = await asyncio.to_thread(bench.broker.new_vhost_url)
    hub = BenchHub(bench.folder / "backlog", parts=("gateway",), bus_url=url)
    hub.environment["HUB_QUEUE_LENGTH"] = str(10 * _STEPS[-1])
    hub.write_programs(["cold"])
    rows: list[dict[str, Any]] = []
    try:
        await asyncio.to_thread(hub.start)
        async with Client(hub) as client, await aio_pika.connect(url) as connection:
            channel = await connection.channel(publisher_confirms=True)
            exchange = await channel.get_exchange("hub.commands", ensure=False)
            queued, ids = 0, [""]
            for step in dict.fromkeys(steps):
                began = time.monotonic()
                ids = await _publish(exchange, step - queued)
                published = time.monotonic()
                queued = step
                await eventually(
                    partial(_queued, client), partial(_reaches, step), within_seconds=_READ_SECONDS, every_seconds=0.5
                )
                read = time.monotonic()
                await until_quiet(hub.pid("gateway"), within_seconds=30)
                row = {
                    "queued": step,
                    "published_seconds": round(published - began, 1),
                    "read_seconds": round(read - began, 1),
                    **await _answers(client, ids),
                    "view_mib": round(
                        sum(file.stat().st_size for file in (hub.folder / "state").glob("view.db*")) / 1024**2, 1
                    ),
                }
                # Last: what answering took of memory belongs to it.
                mib = hub.rss_bytes("gateway") / 1024**2
                bench.record(f"gateway_mib/{step}", number, mib)
                rows.append({**row, "gateway_mib": round(mib, 1)})
    finally:
        bench.notes["backlog"] = rows
        await asyncio.to_thread(hub.close)


async def _publish(exchange: Any, count: int) -> list[str]:
    """Publish so many commands; the ids of some of them."""
    body = json.dumps({"program_id": "cold", "parameters": {"name": "somebody"}}).encode()
    free = asyncio.Semaphore(_IN_FLIGHT)
    kept: list[str] = []

    async def one() -> None:
        message_id = str(uuid.uuid4())
        try:
            message = aio_pika.Message(body, message_id=message_id, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await exchange.publish(message, "execute.default", mandatory=True)
        finally:
            free.release()
        if len(kept) < _LOOKS:
            kept.append(message_id)

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            await free.acquire()
            group.create_task(one())
    return kept


def _reaches(step: int, seen: int) -> bool:
    return seen >= step


async def _queued(client: Client) -> int:
    stats = await client.api.get("/executions/stats")
    return int(stats["total"])


async def _answers(client: Client, ids: list[str]) -> dict[str, float]:
    """How long a page and one execution take, in milliseconds."""
    took: dict[str, list[float]] = {"page": [], "one": []}
    for number in range(_LOOKS):
        for kind, path in (("page", "/executions?limit=100"), ("one", f"/executions/{ids[number % len(ids)]}")):
            began = time.monotonic()
            await client.api.get(path)
            took[kind].append((time.monotonic() - began) * 1000)
    return {
        f"{kind}_p{percent}_ms": round(percentile(values, percent), 2) for kind, values in took.items() for percent in (50, 99)
    }
