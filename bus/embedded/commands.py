"""Commands on the embedded bus."""

import sqlite3
from collections import deque
from functools import partial

from bus import topology
from bus.embedded.dead_letters import EmbeddedDeadLetters
from bus.embedded.rows import COLUMNS, PLACES, from_row, to_row
from bus.embedded.store import Store
from bus.embedded.streams import append_to
from bus.embedded.tide import Tide
from bus.errors import BusUnavailable, UnknownPool
from bus.messages import DeadReason, Message, Source, StreamName


class EmbeddedCommands:
    """Keeps the promises of :class:`bus.ports.Commands`.

    Which commands are in somebody's hands is remembered in memory alone: after a restart they are available again.
    """

    def __init__(self, store: Store, logged: Tide, dead_letters: EmbeddedDeadLetters) -> None:
        """``logged`` rises when the log grows."""
        self._store = store
        self._dead_letters = dead_letters
        self._logged = logged
        #: By pool: sequence numbers of what waits, the oldest first.
        self._queues: dict[str, deque[int]] = {}
        self._arrived = Tide()

    async def add_pools(self, pools: frozenset[str]) -> None:
        """From now on these are known. What waits in them from earlier is found again."""
        for pool in pools - self._queues.keys():
            topology.execute_key(pool)
            self._queues[pool] = deque(await self._store.read(partial(_waiting, pool=pool)))

    def close(self) -> None:
        """Whoever waits for a command gets BusClosed."""
        self._arrived.close()

    async def accept(self, pool: str, message: Message) -> None:
        """Put it into the work queue and into the log, in one transaction."""
        await self._queue_up(pool, message, Source.COMMANDS)

    async def retry(self, pool: str, message: Message) -> None:
        """The same, as the holder's."""
        await self._queue_up(pool, message, Source.REPORTS)

    async def _queue_up(self, pool: str, message: Message, source: Source) -> None:
        queue = self._queue(pool)
        if len(queue) >= topology.WORK_QUEUE_LENGTH:
            raise BusUnavailable(f"the work queue of pool {pool} is full")
        row = to_row(message)

        def add(database: sqlite3.Connection) -> int:
            insert = f"INSERT INTO work (pool, source, {COLUMNS}) VALUES (?, ?, {PLACES})"  # noqa: S608
            cursor = database.execute(insert, (pool, source.value, *row))
            append_to(database, StreamName.LOG, source, _key(pool, source), message)
            sequence: int = cursor.lastrowid or 0
            return sequence

        def accepted(sequence: int) -> None:
            queue.append(sequence)
            self._arrived.rise()
            self._logged.rise()

        await self._store.write(add, accepted)

    async def take(self, pool: str, free_slots: int) -> "EmbeddedDelivery":
        """Wait for the next command; it alone is taken, so there is always a slot for it."""
        if free_slots < 1:
            raise ValueError("take() needs at least one free slot")
        queue = self._queue(pool)
        while True:
            height = self._arrived.height
            if queue:
                break
            await self._arrived.above(height)
        sequence = queue.popleft()
        try:
            message, source = await self._store.read(lambda database: _command(database, sequence))
        except BaseException:
            self.put_back(pool, sequence)
            raise
        return EmbeddedDelivery(self._store, self, self._dead_letters, pool, sequence, message, source)

    async def stop_taking(self) -> None:
        """Nothing to do: nothing is ever taken ahead."""

    async def waiting(self, pool: str) -> int:
        """How many commands wait.

        Raises:
            UnknownPool: the pool has no work queue.
        """
        return len(self._queue(pool))

    def put_back(self, pool: str, sequence: int) -> None:
        """Make a command available again, before all others."""
        self._queues[pool].appendleft(sequence)
        self._arrived.rise()

    def _queue(self, pool: str) -> deque[int]:
        if pool not in self._queues:
            raise UnknownPool(pool)
        return self._queues[pool]


class EmbeddedDelivery:
    """Keeps the promises of :class:`bus.ports.Delivery`. Settling it again does nothing."""

    def __init__(
        self,
        store: Store,
        commands: EmbeddedCommands,
        dead_letters: EmbeddedDeadLetters,
        pool: str,
        sequence: int,
        message: Message,
        source: Source,
    ) -> None:
        self._store = store
        self._commands = commands
        self._dead_letters = dead_letters
        self._pool = pool
        self._sequence = sequence
        self._message = message
        self._source = source
        self._settled = False

    @property
    def message(self) -> Message:
        """The command."""
        return self._message

    @property
    def source(self) -> Source:
        """Where it came in."""
        return self._source

    async def done(self) -> None:
        """Settle it for good."""
        if not self._settled:
            self._settled = True
            await self._store.write(lambda database: _delete(database, self._sequence))

    async def reject(self, reason: str) -> None:
        """Move it to the dead letters, in one transaction."""
        if not self._settled:
            self._settled = True
            await self._dead_letters.bury(self._sequence, DeadReason.MALFORMED, reason, key=_key(self._pool, self._source))

    async def give_back(self) -> None:
        """Make it available again."""
        if not self._settled:
            self._settled = True
            self._commands.put_back(self._pool, self._sequence)


def _waiting(database: sqlite3.Connection, pool: str) -> list[int]:
    return [row[0] for row in database.execute("SELECT sequence FROM work WHERE pool = ? ORDER BY sequence", (pool,))]


def _key(pool: str, source: Source) -> str:
    return topology.execute_key(pool) if source is Source.COMMANDS else topology.retry_key(pool)


def _command(database: sqlite3.Connection, sequence: int) -> tuple[Message, Source]:
    select = f"SELECT source, {COLUMNS} FROM work WHERE sequence = ?"  # noqa: S608
    source, *row = database.execute(select, (sequence,)).fetchone()
    return from_row(tuple(row)), Source(source)


def _delete(database: sqlite3.Connection, sequence: int) -> None:
    database.execute("DELETE FROM work WHERE sequence = ?", (sequence,))
