"""Batches of a stream, from one that reads them."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from bus.messages import Batch, Record

#: Seconds that records wait for others, so that they are stored together: what is stored alone costs a commit alone.
WINDOW_SECONDS = 0.02
#: Seconds that a record waits for the one that is about to follow it.
PATIENCE_SECONDS = 0.05
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
    is_followed: Callable[[Record], bool] = lambda _: False,
    window_seconds: float = WINDOW_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
    enough: int = ENOUGH,
) -> AsyncGenerator[Batch, None]:
    """The same records in the same order, in fewer batches where many come.

    What comes when none was given out for as long as the window is given out at once, and what is urgent always, with all that
    came before it. Only what ``is_followed`` by more, most likely, waits for that, though not for long. While a batch is being
    dealt with, the next one is read.
    """
    waiting: list[Record] = []
    reading: asyncio.Future[Batch] | None = None
    #: Monotonic times of when something was given out last, and by which what waits is to be.
    given_at, due_at = float("-inf"), 0.0
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
                now = time.monotonic()
                if not waiting:
                    due_at = now + patience_seconds
                waiting += batch
                if len(waiting) >= enough or any(map(is_urgent, batch)):
                    due_at = now
                elif not all(map(is_followed, batch)):
                    due_at = min(due_at, given_at + window_seconds)
                if now < due_at:
                    continue
            full, waiting = waiting, []
            yield full
            given_at = time.monotonic()
    except StopAsyncIteration:
        return
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _next_of(batches: AsyncIterator[Batch]) -> Batch:
    return await anext(batches)
