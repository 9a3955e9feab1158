"""Slots: the right to run one execution each."""

import asyncio
from collections.abc import Callable


class Slots:
    """As many as the current settings say; they may change at any time. Those in use above a lowered limit run on."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._used = 0
        self._freed = asyncio.Event()

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

    def give_back(self) -> None:
        """Free one that was taken."""
        self._used -= 1
        self._freed.set()

    async def wait_free(self, look_again_seconds: float = 1.0) -> None:
        """Wait until one is free. A raised limit is noticed within ``look_again_seconds``."""
        while self.free == 0:
            self._freed.clear()
            try:
                async with asyncio.timeout(look_again_seconds):
                    await self._freed.wait()
            except TimeoutError:
                continue
