"""Waiting for work, unless something else happens first, and for an engine until it answers."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from bus.backoff import Backoff
from runner.errors import EngineUnavailable, Interrupted

T = TypeVar("T")


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``; it is cancelled when ``event`` is set before it is done.

    Raises:
        Interrupted: the event came first.
    """
    task = asyncio.create_task(work)
    signal = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, signal}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if task.cancelled():
            raise Interrupted
        return task.result()  # work that finished in the same moment counts
    finally:
        await cancel(task, signal)


async def finished(work: Coroutine[Any, Any, T], seconds: float = 10.0) -> T:
    """The result of ``work``. Who is cancelled waits so many seconds for it all the same: it is not left half done."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=seconds)
        await cancel(task)
        raise


async def surely(ask: Callable[[], Awaitable[T]], on_delay: Callable[[EngineUnavailable], None]) -> T:
    """What the engine answers, asked until it does; ``on_delay`` hears of each time that it did not, and may raise."""
    backoff = Backoff()
    while True:
        try:
            return await ask()
        except EngineUnavailable as error:
            on_delay(error)
            await backoff.pause()


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they are gone. What they raise was either collected before or is of no interest."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
