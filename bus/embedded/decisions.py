"""Decisions on the embedded bus: one process, one table."""

import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Protocol, TypeVar

from bus import decision_table, topology
from bus.embedded.store import Store
from bus.embedded.tide import Tide
from bus.messages import Decision, End, Proposal

Row = TypeVar("Row")

#: Decisions that a watcher is given at a time.
_WATCH_BATCH = 500


class _After(Protocol[Row]):
    def __call__(self, database: sqlite3.Connection, sequence: int, limit: int) -> list[tuple[int, Row]]: ...


class EmbeddedDecisions:
    """Keeps the promises of :class:`bus.ports.Decisions`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._decided = Tide()
        self._sequence = 0

    async def open(self) -> None:
        """Find out how far it is."""
        self._sequence = await self._store.read(decision_table.last_sequence)

    def close(self) -> None:
        """Whoever watches gets BusClosed."""
        self._decided.close()

    async def decide(self, proposal: Proposal) -> Decision:
        """Propose, and return what was decided."""

        def propose(database: sqlite3.Connection) -> tuple[Decision | None, int]:
            decision_table.apply(database, proposal, int(time.time()))
            return decision_table.answer(database, proposal), decision_table.last_sequence(database)

        decision, _ = await self._store.write(propose, lambda result: self._rise_to(result[1]))
        if decision is None:
            raise AssertionError("a proposal that was applied has an answer")
        return decision

    async def forget(self) -> None:
        """Forget the claims that nobody has told for as long as a control stream is kept.

        Raises:
            BusUnavailable: not now.
        """
        before = int(time.time()) - topology.CONTROL_AGE_DAYS * topology.DAY_SECONDS
        while await self._store.write(partial(decision_table.forget, before=before)):
            pass

    async def decision_for(self, execution_id: str, attempt: int) -> Decision | None:
        """The decision, if there is one."""
        return await self._store.read(lambda database: decision_table.find(database, execution_id, attempt))

    def watch(self) -> AsyncIterator[Decision]:
        """Every decision from now on."""
        return self._rows(decision_table.after, self._sequence)

    async def end_of(self, execution_id: str) -> End | None:
        """The first end of an execution."""
        return await self._store.read(lambda database: decision_table.end_of(database, execution_id))

    def ends(self) -> AsyncIterator[End]:
        """Every end, from the first."""
        return self._rows(decision_table.ends_after, 0)

    async def gaps(self) -> AsyncGenerator[None, None]:
        """None: the file is whole, or is not opened."""
        found: list[None] = []
        while not found:
            await self._decided.above(self._decided.height)
        for gap in found:
            yield gap

    async def _rows(self, after: _After[Row], sequence: int) -> AsyncGenerator[Row, None]:
        while True:
            height = self._decided.height
            batch = await self._store.read(partial(after, sequence=sequence, limit=_WATCH_BATCH))
            for _, row in batch:
                yield row
            if batch:
                sequence = batch[-1][0]
            else:
                await self._decided.above(height)

    def _rise_to(self, sequence: int) -> None:
        if sequence > self._sequence:
            self._sequence = sequence
            self._decided.rise()
