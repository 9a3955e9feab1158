"""Epochs on the embedded bus: there is one runner, in this process, and nobody ends its epoch."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from bus import epoch_table
from bus.embedded.store import Store
from bus.embedded.tide import Tide
from bus.messages import Claim, Epoch, Hello


class EmbeddedEpochs:
    """Keeps the promises of :class:`bus.ports.Epochs`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._current: str | None = None
        self._closed = Tide()

    def close(self) -> None:
        """Whoever waits gets BusClosed."""
        self._closed.close()

    async def hello(self, hello: Hello) -> None:
        """The file of the bus is open in one process only, so there is nobody else."""
        self._current = hello.epoch

    async def displaced(self) -> None:
        """Never."""
        await self._closed.above(0)

    async def catch_up(self) -> None:
        """All that was said is known here."""
        # Like a call that takes its time: who waits gives others their turn.
        await asyncio.sleep(0)

    async def fence(self, epoch: str) -> None:
        """Nobody is to be fenced."""

    async def is_fenced(self, epoch: str) -> bool:
        """Whether it is that of a journal that is no longer there: nobody will come back for what it had."""
        return self._current is not None and epoch != self._current

    def fences(self) -> AsyncIterator[str]:
        """None come."""
        return self._none()

    async def with_claims(self) -> Sequence[Epoch]:
        """Every epoch that has claimed something."""
        return await self._store.read(epoch_table.with_claims)

    async def claims_of(self, epoch: str, after: int, limit: int) -> Sequence[tuple[int, Claim]]:
        """What an epoch has claimed."""
        return await self._store.read(lambda database: epoch_table.claims_of(database, epoch, after, limit))

    async def _none(self) -> AsyncGenerator[str, None]:
        await self._closed.above(0)
        yield ""
