"""Pauses between attempts."""

import asyncio
import random


class Backoff:
    """Pauses that double up to a limit, each shortened at random so that many processes do not come back in one moment."""

    def __init__(self, *, first_seconds: float = 0.1, most_seconds: float = 5.0) -> None:
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._next_seconds = first_seconds

    def reset(self) -> None:
        """It works again: the next pause is a short one."""
        self._next_seconds = self._first_seconds

    async def pause(self) -> None:
        """Wait, longer than the last time."""
        seconds = self._next_seconds
        self._next_seconds = min(2 * seconds, self._most_seconds)
        await asyncio.sleep(seconds * random.uniform(0.5, 1.0))
