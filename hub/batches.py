"""Batches of a stream, from one that reads them."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from bus.messages import Batch, Record

#: Seconds that records wait for others, so that they are stored together: what is stored alone costs a commit alone.
WINDOW_SECONDS = 0.02
#: Records that are enough for a batch.
ENOUGH = 100


@asynccontextmanager
async def closing(batches: AsyncIterator[Batch]) -> AsyncIterator[AsyncIterator[Batch]]:
    """Give a stream's consumer back on leaving: a generator left before its end would only do so when it is collected."""
    try:
        yield batches
    finally:
        if isinstance(batches, AsyncGenerator):
            await batches.aclose()


async def gathered(
    batches: AsyncIterator[Batch],
    is_urgent: Callable[[Record], bool],
    *,
    window_seconds: float = WINDOW_SECONDS,
    enough: int = ENOUGH,
) -> AsyncGenerator[Batch, None]:
    """The same records in the same order, in fewer batches where many come.

    What comes when none was given out for as long as the window is given out at once, so nothing that comes alone waits; nor
    does what is urgent, with all that came before it. While a batch is being dealt with, the next one is read.
    """
    waiting: list[Record] = []
    reading: asyncio.Future[Batch] | None = None
    due_at = 0.0
    try:
        while True:
            reading = reading or asyncio.ensure_future(_next_of(batches))
            left = max(0.0, due_at - time.monotonic()) if waiting else None
            done, _ = await asyncio.wait({reading}, timeout=left)
            if done:
                read, reading = reading, None
                if read.exception() is not None and waiting:
                    # What was read before it is to be stored before anybody asks how far it was read.
                    yield waiting
                    waiting = []
                batch = read.result()
                waiting += batch
                if time.monotonic() < due_at and len(waiting) < enough and not any(map(is_urgent, batch)):
                    continue
            full, waiting = waiting, []
            yield full
            due_at = time.monotonic() + window_seconds
    except StopAsyncIteration:
        return
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _next_of(batches: AsyncIterator[Batch]) -> Batch:
    return await anext(batches)
