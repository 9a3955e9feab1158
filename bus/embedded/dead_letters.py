"""Dead letters on the embedded bus."""

import sqlite3
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

from bus import topology
from bus.embedded.rows import COLUMNS, from_row
from bus.embedded.store import Store
from bus.embedded.tide import Tide
from bus.limits import MOST_PREVIEW_BYTES
from bus.messages import DeadLetter, DeadLetterPage, DeadReason, Message
from schemas.times import utc_now

_LETTER = "letter_id, place, reason, detail, routing_key, dead_at, message_id, LENGTH(body), SUBSTR(body, 1, :bytes)"


class EmbeddedDeadLetters:
    """Keeps the promises of :class:`bus.ports.DeadLetters`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._count = 0
        self._closed = Tide()

    async def open(self) -> None:
        """Count those of earlier."""
        self._set_count(await self._store.read(_count))

    def close(self) -> None:
        """Whoever follows gets BusClosed."""
        self._closed.close()

    async def bury(
        self, sequence: int, reason: DeadReason, detail: str, *, key: str, then: Callable[[bool], None] = lambda _: None
    ) -> None:
        """Move a command out of the work queue, in one transaction; ``then`` hears whether it was there."""

        def move(database: sqlite3.Connection) -> tuple[bool, int]:
            database.execute(
                f"INSERT INTO dead_letters (letter_id, dead_at, reason, detail, routing_key, {COLUMNS})"  # noqa: S608
                f" SELECT ?, ?, ?, ?, ?, {COLUMNS} FROM work WHERE sequence = ?",
                (str(uuid4()), utc_now().isoformat(), reason.value, detail[: topology.REASON_LENGTH], key, sequence),
            )
            was_there = database.execute("DELETE FROM work WHERE sequence = ?", (sequence,)).rowcount > 0
            database.execute(
                "DELETE FROM dead_letters WHERE place <= (SELECT MAX(place) FROM dead_letters) - ?", (topology.DEAD_LETTERS,)
            )
            return was_there, _count(database)

        def moved(result: tuple[bool, int]) -> None:
            was_there, count = result
            self._set_count(count)
            then(was_there)

        await self._store.write(move, moved)

    async def follow(self) -> None:
        """Nothing to do: they are read when somebody asks."""
        await self._closed.above(0)

    def count(self) -> int:
        """How many there are."""
        return self._count

    async def page(self, limit: int, *, reason: DeadReason | None = None, before: int | None = None) -> DeadLetterPage:
        """The newest ones, the newest first."""
        letters = await self._store.read(partial(_page, limit=limit + 1, reason=reason, before=before))
        return DeadLetterPage(letters[:limit], letters[limit - 1].place if len(letters) > limit else None)

    async def find(self, letter_id: str) -> tuple[DeadLetter, Message] | None:
        """One, and the command."""
        return await self._store.read(partial(_find, letter_id=letter_id))

    async def remove(self, letter_id: str) -> bool:
        """Remove one."""

        def delete(database: sqlite3.Connection) -> tuple[bool, int]:
            deleted = database.execute("DELETE FROM dead_letters WHERE letter_id = ?", (letter_id,)).rowcount
            return deleted > 0, _count(database)

        found, _ = await self._store.write(delete, lambda result: self._set_count(result[1]))
        return found

    def _set_count(self, count: int) -> None:
        self._count = count


def _count(database: sqlite3.Connection) -> int:
    count: int = database.execute("SELECT COUNT(*) FROM dead_letters").fetchone()[0]
    return count


def _page(database: sqlite3.Connection, limit: int, reason: DeadReason | None, before: int | None) -> list[DeadLetter]:
    rows = database.execute(
        f"SELECT {_LETTER} FROM dead_letters WHERE (:reason IS NULL OR reason = :reason)"  # noqa: S608
        " AND (:before IS NULL OR place < :before) ORDER BY place DESC LIMIT :limit",
        {"bytes": MOST_PREVIEW_BYTES, "reason": reason and reason.value, "before": before, "limit": limit},
    )
    return [_letter(*row) for row in rows]


def _find(database: sqlite3.Connection, letter_id: str) -> tuple[DeadLetter, Message] | None:
    row = database.execute(
        f"SELECT {_LETTER}, {COLUMNS} FROM dead_letters WHERE letter_id = :letter_id",  # noqa: S608
        {"bytes": MOST_PREVIEW_BYTES, "letter_id": letter_id},
    ).fetchone()
    return None if row is None else (_letter(*row[:9]), from_row(row[9:]))


def _letter(*row: Any) -> DeadLetter:
    letter_id, place, reason, detail, key, dead_at, message_id, size, preview = row
    return DeadLetter(
        id=letter_id,
        place=place,
        reason=DeadReason(reason),
        detail=detail,
        key=key,
        dead_at=datetime.fromisoformat(dead_at),
        message_id=message_id,
        size=size,
        preview=preview or b"",  # SQLite has no piece of an empty body
    )
