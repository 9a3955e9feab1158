"""Word of something new, for any number that wait."""

import asyncio

from bus.errors import BusClosed


class Tide:
    """A count that only rises. Who has seen it at a height waits until it is higher: nothing is missed in between."""

    def __init__(self) -> None:
        self._height = 0
        self._risen = asyncio.Event()
        self._closed = False

    @property
    def height(self) -> int:
        """How often it has risen."""
        return self._height

    def rise(self) -> None:
        """There is something new."""
        self._height += 1
        self._risen.set()
        self._risen = asyncio.Event()

    def close(self) -> None:
        """Nothing new will come any more."""
        self._closed = True
        self.rise()

    async def above(self, height: int) -> None:
        """Wait until it is higher than that.

        Raises:
            BusClosed: it was closed.
        """
        while self._height <= height:
            await self._risen.wait()
        if self._closed:
            raise BusClosed("the bus is closed")
