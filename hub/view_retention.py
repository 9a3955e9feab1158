"""What the view lets go of, so that its file is bounded: finished executions above their number, tombstones, transitions and
counts by age, and pages of the file that are free. Synchronous; inside the transaction of a batch, but for :func:`give_back`.
"""

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta

from bus.topology import CONTROL_AGE_DAYS
from hub import accepted_spans, rows
from hub.stats import minute_of
from schemas.executions import CleanedUp

#: For how long a removed execution is remembered: as long as the decision that it was started.
TOMBSTONE_AGE = timedelta(days=CONTROL_AGE_DAYS)
#: Tombstones that are kept at most, some 200 MB: above it the oldest go before their time.
MOST_TOMBSTONES = 1_000_000
#: Nobody asks how many were accepted in more than a day; two allow for clocks that disagree.
_ACCEPTANCES_AGE = timedelta(days=2)
#: Hours in which the log grew for which transitions are kept, where nobody else removes them: as in the view of a gateway that
#: does not announce, which must be able to go on where the one that does was lost. An outage is no such hour.
TRANSITION_HOURS = 24 * CONTROL_AGE_DAYS
#: Executions, and transitions, that are removed with one batch: more go with the next ones, so that none takes long.
_REMOVED_AT_A_TIME = 5_000
#: Free pages of the file that are kept for what comes, as a share of all and at least; and how many are given back at a time.
_FREE_SHARE = 0.25
_FREE_PAGES = 4_096
_GIVEN_BACK_AT_A_TIME = 500


def count(connection: sqlite3.Connection, *, total: int, finished: int) -> None:
    """There are so many more executions, and finished ones among them."""
    connection.execute("UPDATE held SET total = total + ?, finished = finished + ?", (total, finished))


def remove_oldest(connection: sqlite3.Connection, keep: int, now: datetime) -> None:
    """Remove the finished executions that ended first. Live ones stay however many they are; the counters keep them all."""
    (finished,) = connection.execute("SELECT finished FROM held").fetchone()
    if finished <= keep:
        return
    oldest = connection.execute(
        "SELECT execution_id, sequence FROM executions WHERE ended_offset IS NOT NULL ORDER BY ended_offset LIMIT ?",
        (min(finished - keep, _REMOVED_AT_A_TIME),),
    ).fetchall()
    _remove(connection, oldest, now)


def remove_finished(connection: sqlite3.Connection, now: datetime) -> CleanedUp:
    """Remove all that has ended."""
    finished = connection.execute(
        "SELECT execution_id, sequence FROM executions WHERE ended_offset IS NOT NULL ORDER BY ended_offset"
    ).fetchall()
    _remove(connection, finished, now)
    (remaining,) = connection.execute("SELECT total FROM held").fetchone()
    return CleanedUp(removed=len(finished), remaining=remaining)


def trim_transitions(connection: sqlite3.Connection, before: int) -> None:
    """Forget the transitions of records before this offset, the first ones of them."""
    connection.execute(
        'DELETE FROM transitions WHERE "offset" IN'
        ' (SELECT "offset" FROM transitions WHERE "offset" < ? ORDER BY "offset" LIMIT ?)',
        (before, _REMOVED_AT_A_TIME),
    )


def forget_old(connection: sqlite3.Connection, offset: int, now: datetime) -> None:
    """Forget what is too old; most of it once an hour. ``offset`` is where the log has come to."""
    hour = int(now.timestamp() // 3600)
    if connection.execute('INSERT OR IGNORE INTO hours ("offset", hour) VALUES (?, ?)', (offset, hour)).rowcount:
        forget_by_age(connection, now)
    # By their places, which only rise: a clock may be set back.
    oldest = connection.execute(
        'SELECT "offset" FROM hours ORDER BY "offset" DESC LIMIT 1 OFFSET ?', (TRANSITION_HOURS - 1,)
    ).fetchone()
    if oldest is not None:
        connection.execute('DELETE FROM hours WHERE "offset" < ?', oldest)
        trim_transitions(connection, oldest[0])


def forget_by_age(connection: sqlite3.Connection, now: datetime) -> None:
    """Forget counts of acceptances that nobody asks for, and the removed executions that need not be remembered any more."""
    connection.execute("DELETE FROM acceptances WHERE minute < ?", (minute_of(now - _ACCEPTANCES_AGE),))
    _forget_tombstones(connection, now)


def give_back(connection: sqlite3.Connection) -> None:
    """Give some of the file's free pages back to the disk, where there are many. Not inside a transaction."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if free <= _FREE_PAGES:
        return
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if free > _FREE_SHARE * pages:
        # As a script: each step gives back one page, and of a statement without columns only the first step is made.
        connection.executescript(f"PRAGMA incremental_vacuum({_GIVEN_BACK_AT_A_TIME})")


def _forget_tombstones(connection: sqlite3.Connection, now: datetime) -> None:
    connection.execute("DELETE FROM removed WHERE removed_at < ?", (rows.text_of(now - TOMBSTONE_AGE),))
    connection.execute("DELETE FROM removed WHERE sequence <= (SELECT max(sequence) FROM removed) - ?", (MOST_TOMBSTONES,))


def _remove(connection: sqlite3.Connection, finished: Sequence[tuple[str, int]], now: datetime) -> None:
    ids = [(execution_id,) for execution_id, _ in finished]
    connection.executemany(
        "INSERT OR IGNORE INTO removed (execution_id, status, digest, accepted_at, removed_at)"
        " SELECT execution_id, status, digest, accepted_at, ? FROM executions WHERE execution_id = ?",
        [(rows.text_of(now), execution_id) for (execution_id,) in ids],
    )
    for table in ("executions", "outputs", "output_chunks"):
        connection.executemany(f"DELETE FROM {table} WHERE execution_id = ?", ids)  # noqa: S608 - the tables are ours
    accepted_spans.forget_empty(connection, (sequence for _, sequence in finished))
    count(connection, total=-len(ids), finished=-len(ids))
    _forget_tombstones(connection, now)
