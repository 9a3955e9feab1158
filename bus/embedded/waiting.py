"""What waits in one pool of the embedded bus, without holding it: the file has it, in its order."""

import sqlite3
from collections import deque
from functools import partial

from bus.embedded.store import Store

#: Commands whose turn comes next that are known by their numbers; the others are read when these are gone.
_READ_AHEAD = 500


class Waiting:
    """The turns of the commands of a pool, and how many wait. It takes no more memory for a million than for one."""

    def __init__(self, store: Store, pool: str) -> None:
        self._store = store
        self._pool = pool
        #: Commands in the file, whoever has them in hand.
        self._count = 0
        #: Numbers of those that are in somebody's hands: of a runner, or on their way to the dead letters.
        self._in_hand: set[int] = set()
        #: Numbers whose turn is next; and up to which number the file was read.
        self._next: deque[int] = deque()
        self._read_to = 0

    def __len__(self) -> int:
        return max(0, self._count - len(self._in_hand))

    async def open(self) -> None:
        """Find what waits from earlier."""
        self._count = await self._store.read(partial(_count, pool=self._pool))

    def added(self) -> None:
        """One more is in the file."""
        self._count += 1

    def removed(self, sequence: int, *, was_there: bool = True) -> None:
        """It is not in the file any more."""
        self._in_hand.discard(sequence)
        if was_there:
            self._count -= 1

    async def take(self) -> int | None:
        """The number of the next command, which is in the caller's hands then; ``None`` where none waits."""
        if not self._next:
            found = await self._store.read(partial(_after, pool=self._pool, sequence=self._read_to))
            # Somebody else may have read the same meanwhile, or put one back. Numbers become visible in their order.
            fresh = [sequence for sequence in found if sequence > self._read_to]
            known = self._in_hand.union(self._next)
            self._next += [sequence for sequence in fresh if sequence not in known]
            if fresh:
                self._read_to = fresh[-1]
        if not self._next:
            return None
        sequence = self._next.popleft()
        self._in_hand.add(sequence)
        return sequence

    def claim(self, sequence: int) -> bool:
        """Take this one out of its turn, unless somebody has it in hand."""
        if sequence in self._in_hand:
            return False
        self._in_hand.add(sequence)
        if sequence in self._next:
            self._next.remove(sequence)
        return True

    def put_back(self, sequence: int) -> None:
        """It is available again, before all others."""
        self._in_hand.discard(sequence)
        self._next.appendleft(sequence)

    def is_gone(self, sequence: int) -> None:
        """What was taken is not there: somebody else has buried it, and counted that."""
        self._in_hand.discard(sequence)


def _count(database: sqlite3.Connection, pool: str) -> int:
    count: int = database.execute("SELECT count(*) FROM work WHERE pool = ?", (pool,)).fetchone()[0]
    return count


def _after(database: sqlite3.Connection, pool: str, sequence: int) -> list[int]:
    found = database.execute(
        "SELECT sequence FROM work INDEXED BY work_by_pool WHERE pool = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        (pool, sequence, _READ_AHEAD),
    )
    return [number for (number,) in found]
