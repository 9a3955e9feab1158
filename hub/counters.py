"""The counters of executions, per status and program, in the view. Synchronous, for one thread."""

import sqlite3

from hub.stats import Moves
from schemas.ids import UNKNOWN_PROGRAM
from schemas.status import Status

#: Counters that are kept; whoever may run programs may name ones that there are not. Above it the rarest of what has ended are
#: summed up, down to the second number, as those of one program.
MOST_COUNTERS, COUNTERS_LEFT = 10_000, 9_000

_ADD = (
    "INSERT INTO counters (status, program_id, total) VALUES (?, ?, ?)"
    " ON CONFLICT (status, program_id) DO UPDATE SET total = total + excluded.total"
)
_ENDED = ", ".join(f"'{status.value}'" for status in Status if status.is_terminal)


def add(connection: sqlite3.Connection, sums: Moves) -> None:
    """Move the counters."""
    connection.executemany(_ADD, [(*counter, step) for counter, step in sums.counters.items() if step])
    if any(step < 0 for step in sums.counters.values()):
        connection.execute("DELETE FROM counters WHERE total = 0")
    (count,) = connection.execute("SELECT COUNT(*) FROM counters").fetchone()
    if count > MOST_COUNTERS:
        _sum_up_rarest(connection, count - COUNTERS_LEFT)


def _sum_up_rarest(connection: sqlite3.Connection, number: int) -> None:
    # What has ended is never counted elsewhere again, so nobody will want to take it from its counter.
    rarest = connection.execute(
        f"SELECT status, program_id, total FROM counters WHERE status IN ({_ENDED}) AND program_id <> ?"  # noqa: S608
        " ORDER BY total, program_id LIMIT ?",
        (UNKNOWN_PROGRAM, number),
    ).fetchall()
    connection.executemany(
        "DELETE FROM counters WHERE status = ? AND program_id = ?", [(status, program) for status, program, _ in rarest]
    )
    connection.executemany(_ADD, [(status, UNKNOWN_PROGRAM, total) for status, _, total in rarest])
