"""Commands on the embedded bus."""

import sqlite3
from functools import partial

from bus import topology
from bus.embedded.dead_letters import EmbeddedDeadLetters
from bus.embedded.rows import COLUMNS, PLACES, from_row, to_row
from bus.embedded.store import Store
from bus.embedded.streams import append_to
from bus.embedded.tide import Tide
from bus.embedded.waiting import Waiting
from bus.errors import BusUnavailable, UnknownPool
from bus.messages import DeadReason, Message, Source, StreamName
from schemas.times import steady_now

#: Commands that are looked at together, for whether they have waited too long.
_EXPIRED_AT_A_TIME = 500


class EmbeddedCommands:
    """Keeps the promises of :class:`bus.ports.Commands`.

    Which commands are in somebody's hands is remembered in memory alone: after a restart they are available again.
    """

    def __init__(
        self,
        store: Store,
        logged: Tide,
        dead_letters: EmbeddedDeadLetters,
        *,
        ttl_seconds: float = topology.COMMAND_TTL_SECONDS,
    ) -> None:
        """``logged`` rises when the log grows; a command that waits for longer than ``ttl_seconds`` is a dead letter."""
        self._store = store
        self._ttl_seconds = ttl_seconds
        self._dead_letters = dead_letters
        self._logged = logged
        self._queues: dict[str, Waiting] = {}
        self._arrived = Tide()
        #: Deliveries that were handed out and are not settled.
        self._handed = 0

    async def add_pools(self, pools: frozenset[str]) -> None:
        """From now on these are known. What waits in them from earlier is found again."""
        for pool in pools - self._queues.keys():
            topology.execute_key(pool)
            waiting = Waiting(self._store, pool)
            await waiting.open()
            self._queues[pool] = waiting

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

        def add(database: sqlite3.Connection) -> None:
            insert = f"INSERT INTO work (pool, queued_at, source, {COLUMNS}) VALUES (?, ?, ?, {PLACES})"  # noqa: S608
            database.execute(insert, (pool, _now(), source.value, *row))
            append_to(database, StreamName.LOG, source, _key(pool, source), message)

        def accepted(_: None) -> None:
            queue.added()
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
            sequence = await queue.take()
            if sequence is None:
                await self._arrived.above(height)
                continue
            try:
                found = await self._store.read(partial(_command, sequence=sequence))
            except BaseException:
                self.put_back(pool, sequence)
                raise
            if found is None:
                queue.is_gone(sequence)  # it was buried by somebody who did not see the end of that
                continue
            queued_at, message, source = found
            if queued_at + self._ttl_seconds > _now():
                break
            await self._bury(pool, sequence)
        self._handed += 1
        return EmbeddedDelivery(self._store, self, self._dead_letters, pool, sequence, message, source)

    async def expire(self) -> None:
        """Move what has waited for too long to the dead letters.

        Raises:
            BusUnavailable: not all of it was moved.
        """
        for pool, queue in list(self._queues.items()):
            while old := await self._store.read(partial(_queued_before, pool=pool, before=_now() - self._ttl_seconds)):
                buried = 0
                for sequence in old:
                    # One that is in somebody's hands is settled, or comes back to the head of the queue.
                    if queue.claim(sequence):
                        await self._bury(pool, sequence)
                        buried += 1
                if not buried:
                    break

    async def stop_taking(self) -> None:
        """Nothing to do: nothing is ever taken ahead."""

    def unsettled(self) -> int:
        """How many deliveries are handed out and not settled."""
        return self._handed

    async def waiting(self, pool: str) -> int:
        """How many commands wait.

        Raises:
            UnknownPool: the pool has no work queue.
        """
        return len(self._queue(pool))

    def put_back(self, pool: str, sequence: int) -> None:
        """Make a command available again, before all others."""
        self._queues[pool].put_back(sequence)
        self._arrived.rise()

    def removed(self, pool: str, sequence: int, *, was_there: bool = True) -> None:
        """A command is not in the file any more."""
        self._queues[pool].removed(sequence, was_there=was_there)

    def settled(self) -> None:
        """A delivery is in nobody's hands any more."""
        self._handed -= 1

    async def _bury(self, pool: str, sequence: int) -> None:
        detail = f"it waited for longer than {topology.COMMAND_TTL_SECONDS // 3600} h"
        try:
            await self._dead_letters.bury(
                sequence,
                DeadReason.EXPIRED,
                detail,
                key=topology.execute_key(pool),
                then=lambda was_there: self.removed(pool, sequence, was_there=was_there),
            )
        except BaseException:
            self.put_back(pool, sequence)
            raise

    def _queue(self, pool: str) -> Waiting:
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
            await self._store.write(
                lambda database: _delete(database, self._sequence), lambda _: self._commands.removed(self._pool, self._sequence)
            )
            self._commands.settled()

    async def reject(self, reason: str) -> None:
        """Move it to the dead letters, in one transaction."""
        if not self._settled:
            self._settled = True
            await self._dead_letters.bury(
                self._sequence,
                DeadReason.MALFORMED,
                reason,
                key=_key(self._pool, self._source),
                then=lambda was_there: self._commands.removed(self._pool, self._sequence, was_there=was_there),
            )
            self._commands.settled()

    async def give_back(self) -> None:
        """Make it available again."""
        if not self._settled:
            self._settled = True
            self._commands.put_back(self._pool, self._sequence)
            self._commands.settled()


def _key(pool: str, source: Source) -> str:
    return topology.execute_key(pool) if source is Source.COMMANDS else topology.retry_key(pool)


def _command(database: sqlite3.Connection, sequence: int) -> tuple[float, Message, Source] | None:
    select = f"SELECT queued_at, source, {COLUMNS} FROM work WHERE sequence = ?"  # noqa: S608
    row = database.execute(select, (sequence,)).fetchone()
    return None if row is None else (row[0], from_row(row[2:]), Source(row[1]))


def _queued_before(database: sqlite3.Connection, pool: str, before: float) -> list[int]:
    found = database.execute(
        "SELECT sequence FROM work INDEXED BY work_by_age WHERE pool = ? AND queued_at <= ?"
        " ORDER BY queued_at, sequence LIMIT ?",
        (pool, before, _EXPIRED_AT_A_TIME),
    )
    return [sequence for (sequence,) in found]


def _now() -> float:
    return steady_now().timestamp()


def _delete(database: sqlite3.Connection, sequence: int) -> None:
    database.execute("DELETE FROM work WHERE sequence = ?", (sequence,))
