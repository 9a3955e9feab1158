"""How long to wait before trying again."""

import asyncio
import random


class Backoff:
    """Pauses that double from ``first_seconds`` to ``most_seconds``, each shortened by up to a half to spread hosts out."""

    def __init__(self, *, first_seconds: float = 0.2, most_seconds: float = 10.0) -> None:
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._next_seconds = first_seconds

    def reset(self) -> None:
        """It works again: the next pause is a short one."""
        self._next_seconds = self._first_seconds

    async def pause(self) -> None:
        """Wait; longer than the last time."""
        seconds = self._next_seconds
        self._next_seconds = min(seconds * 2, self._most_seconds)
        await asyncio.sleep(seconds * random.uniform(0.5, 1.0))
