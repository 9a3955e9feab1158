"""Which parts of the view can hold executions that were accepted between two times.

Executions are listed in the order of the log, which is nearly that of their acceptance, but for publishers whose clocks are
wrong. So of each thousand of them the first and the last time of acceptance is kept, and a list by time looks only where what
it wants can be: not through a million that wait for the few of last week. Synchronous, as all of the view.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from datetime import datetime

from hub.rows import text_of

#: Numbers of executions whose times are kept together.
BLOCK = 1_000
#: The number after the last one that SQLite knows.
_END = 2**63 - 1


def widen(connection: sqlite3.Connection, accepted: Iterable[tuple[int, datetime]]) -> None:
    """Take in that the executions of these numbers were accepted at these times."""
    spans: dict[int, tuple[datetime, datetime]] = {}
    for sequence, moment in accepted:
        first, last = spans.get(sequence // BLOCK, (moment, moment))
        spans[sequence // BLOCK] = min(first, moment), max(last, moment)
    connection.executemany(
        "INSERT INTO accepted_spans (block, first, last) VALUES (?, ?, ?)"
        " ON CONFLICT (block) DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)",
        [(block, text_of(first), text_of(last)) for block, (first, last) in spans.items()],
    )


def forget_empty(connection: sqlite3.Connection, sequences: Iterable[int]) -> None:
    """Forget the spans in which no execution is left, after those of these numbers were removed."""
    connection.executemany(
        "DELETE FROM accepted_spans WHERE block = ?1"
        " AND NOT EXISTS (SELECT 1 FROM executions WHERE sequence >= ?2 AND sequence < ?3)",
        [(block, block * BLOCK, (block + 1) * BLOCK) for block in {sequence // BLOCK for sequence in sequences}],
    )


def ranges(
    connection: sqlite3.Connection, before: int | None, since: datetime | None, until: datetime | None
) -> Iterator[tuple[int, int]]:
    """Ranges of numbers (from, below) under ``before`` in which executions of that time can be, the newest first."""
    top = _END if before is None else before
    if since is None and until is None:
        yield 0, top
        return
    blocks = connection.execute(
        "SELECT block FROM accepted_spans WHERE block <= :top AND (:since IS NULL OR last >= :since)"
        " AND (:until IS NULL OR first < :until) ORDER BY block DESC",
        {"top": top // BLOCK, "since": text_of(since), "until": text_of(until)},
    )
    lowest: int | None = None
    highest = 0
    for (block,) in blocks:
        if lowest is None:
            highest = block
        elif block != lowest - 1:
            yield lowest * BLOCK, min(top, (highest + 1) * BLOCK)
            highest = block
        lowest = block
    if lowest is not None:
        yield lowest * BLOCK, min(top, (highest + 1) * BLOCK)
