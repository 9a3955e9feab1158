"""Waiting for a state with a deadline, and saying what was seen last when it does not come."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    probe: Callable[[], Awaitable[T]],
    accept: Callable[[T], bool] = bool,
    *,
    within_seconds: float = 20.0,
    every_seconds: float = 0.02,
) -> T:
    """The first answer of ``probe`` that ``accept`` likes.

    Raises:
        AssertionError: none came in time; the text has the last answer.
    """
    deadline = time.monotonic() + within_seconds
    while True:
        seen = await probe()
        if accept(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_seconds} s; last seen: {seen!r}")
        await asyncio.sleep(every_seconds)
