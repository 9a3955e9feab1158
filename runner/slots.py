"""Slots: the right to run one execution each."""

import asyncio
import contextlib
from collections.abc import Callable


class Slots:
    """As many as the current settings say; they may change at any time. Those in use above a lowered limit run on."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._used = 0
        self._freed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def used(self) -> int:
        """How many are in use."""
        return self._used

    @property
    def free(self) -> int:
        """How many could be taken now."""
        return max(0, self._limit() - self._used)

    def take(self) -> None:
        """Take one that was seen to be free; a limit lowered since then does not matter."""
        self._used += 1
        self._idle.clear()

    def give_back(self) -> None:
        """Free one that was taken."""
        self._used -= 1
        self._freed.set()
        if not self._used:
            self._idle.set()

    async def wait_idle(self, limit_seconds: float) -> None:
        """Wait until none is in use, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_seconds):
                await self._idle.wait()

    async def wait_free(self, look_again_seconds: float = 1.0) -> None:
        """Wait until one is free. A raised limit is noticed within ``look_again_seconds``."""
        while self.free == 0:
            self._freed.clear()
            try:
                async with asyncio.timeout(look_again_seconds):
                    await self._freed.wait()
            except TimeoutError:
                continue
