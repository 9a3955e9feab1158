"""What a bus does for itself, now and then."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from bus.errors import BusUnavailable

log = structlog.get_logger()

#: Seconds between two removals of what is too old.
PRUNE_SECONDS = 3600.0
#: Seconds after the start before claims are forgotten for the first time. By then whoever was away for long has said again
#: what it has in hand (:data:`runner.reclaims.FIRST_SECONDS`).
FORGET_FIRST_SECONDS = 2 * 3600.0


async def every(seconds: float, keep: Callable[[], Awaitable[None]], *, first_seconds: float = 0.0) -> None:
    """Keep something in order, for ever, first after ``first_seconds``. What can't be done now is done another time."""
    await asyncio.sleep(first_seconds)
    while True:
        try:
            await keep()
        except BusUnavailable as error:
            log.warning("what is too old was not removed", action="prune_failed", error=str(error))
        await asyncio.sleep(seconds)
