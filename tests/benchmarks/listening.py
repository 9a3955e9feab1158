"""A subscriber that hears of the start of every execution."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from bus import topology
from tests.benchmarks.proofs import Proofs, Told
from tests.support.wait import eventually

#: Seconds in which the last starts are told.
_LAG_SECONDS = 20.0


@asynccontextmanager
async def listening(url: str, proofs: Proofs) -> AsyncIterator[None]:
    """Hear of starts inside the context; when it is left in good order, all that was seen is held against them."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(topology.EXECUTIONS, "execution.running.#")

        async def hear(message: AbstractIncomingMessage) -> None:
            data = json.loads(message.body)["data"]
            proofs.hear(data["execution_id"], Told(data["container_id"], data.get("was_warm")))

        await queue.consume(hear, no_ack=True)
        yield

        async def are_all_told() -> bool:
            return proofs.are_all_told

        await eventually(are_all_told, within_seconds=_LAG_SECONDS)
        proofs.compare()
