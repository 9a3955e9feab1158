"""Decisions on the embedded bus: one process, one table."""

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from bus import decision_table
from bus.embedded.store import Store
from bus.embedded.tide import Tide
from bus.messages import Decision, Proposal

#: Decisions that a watcher is given at a time.
_WATCH_BATCH = 500


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
            decision_table.apply(database, proposal)
            return decision_table.answer(database, proposal), decision_table.last_sequence(database)

        decision, _ = await self._store.write(propose, lambda result: self._rise_to(result[1]))
        if decision is None:
            raise AssertionError("a proposal that was applied has an answer")
        return decision

    async def decision_for(self, execution_id: str, attempt: int) -> Decision | None:
        """The decision, if there is one."""
        return await self._store.read(lambda database: decision_table.find(database, execution_id, attempt))

    def watch(self) -> AsyncIterator[Decision]:
        """Every decision from now on."""
        return self._watch(self._sequence)

    async def _watch(self, sequence: int) -> AsyncGenerator[Decision, None]:
        while True:
            height = self._decided.height
            batch = await self._store.read(partial(decision_table.after, sequence=sequence, limit=_WATCH_BATCH))
            for _, decision in batch:
                yield decision
            if batch:
                sequence = batch[-1][0]
            else:
                await self._decided.above(height)

    def _rise_to(self, sequence: int) -> None:
        if sequence > self._sequence:
            self._sequence = sequence
            self._decided.rise()
