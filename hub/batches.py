"""Batches of a stream, from one that reads them."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from bus.messages import Batch


@asynccontextmanager
async def closing(batches: AsyncIterator[Batch]) -> AsyncIterator[AsyncIterator[Batch]]:
    """Give a stream's consumer back on leaving: a generator left before its end would only do so when it is collected."""
    try:
        yield batches
    finally:
        if isinstance(batches, AsyncGenerator):
            await batches.aclose()
