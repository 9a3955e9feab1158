"""Messages to send, and what arrives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from bus.messages import Claim, Message, Position, Record, StreamName
from bus.ports import Bus, Delivery

#: Seconds for anything that should come at once.
SOON_SECONDS = 15.0


def command(message_id: str | None = None, **fields: Any) -> Message:
    """A command, with an id of its own unless it is given."""
    message_id = message_id or str(uuid4())
    return Message(id=message_id, body=b'{"program_id": "p"}', timestamp=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), **fields)


def report(message_id: str) -> Message:
    """A report."""
    return Message(id=message_id, body=f"body of {message_id}".encode(), content_type="application/cloudevents+json")


def claim(execution_id: str, nonce: str | None = None, attempt: int = 1) -> Claim:
    """A claim, with a nonce of its own unless it is given."""
    return Claim(execution_id=execution_id, attempt=attempt, epoch="e", nonce=nonce or str(uuid4()), digest="d")


async def soon(waiting: Any) -> Any:
    """What should come at once."""
    return await asyncio.wait_for(waiting, SOON_SECONDS)


async def take(bus: Bus, free_slots: int = 1) -> Delivery:
    """The next command, which must be there."""
    delivery: Delivery = await soon(bus.commands.take("default", free_slots))
    return delivery


async def collect(records: AsyncIterator[Any], number: int, *, within_seconds: float = SOON_SECONDS) -> list[Any]:
    """The next records of batches, at least so many."""
    found: list[Any] = []
    while len(found) < number:
        batch = await asyncio.wait_for(anext(records), within_seconds)
        assert batch, "a batch is never empty"
        found.extend(batch)
    return found


async def read(bus: Bus, number: int, *, stream: StreamName = StreamName.LOG, after: Position | None = None) -> list[Record]:
    """So many records after a position; more than that is an error."""
    async with aclosing(bus.streams.read(stream, after)) as batches:  # type: ignore[type-var]
        found = await collect(batches, number)
        assert len(found) == number
        return found


async def stays_silent(waiting: Any, seconds: float = 0.3) -> None:
    """Nothing comes for a moment. The wait is cancelled."""
    try:
        seen = await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return
    raise AssertionError(f"nothing should have come, and there was {seen!r}")
