"""What is asked of the view. Synchronous; each is run inside one read transaction, so it sees one state of it."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from bus.messages import Message
from hub import rows
from hub.accepted_spans import ranges
from hub.stats import minute_of
from hub.transitions import StoredTransition
from hub.view_schema import AFTER, BEFORE
from schemas.cloud_events import CONTENT_TYPE
from schemas.executions import Execution, Held, Page, Queued, Remembered, Statistics, ToRetry, Wanted
from schemas.output import Output, StreamName, StreamSummary
from schemas.status import Status
from schemas.times import utc_now

#: Bytes of output that a list of executions may hold: a hundred floods must not fill the memory of who lists them.
LISTED_OUTPUT_BYTES = 16 * 1024**2

#: Texts before and after every time that :func:`hub.rows.text_of` writes.
_FIRST_TIME, _LAST_TIME = "", ":"
# The columns are ours; what callers say is always a bound value.
_SELECT = f"SELECT {rows.COLUMNS} FROM executions"  # noqa: S608
# Which index is meant is said wherever SQLite could take one for the status alone, and look at all that waits.
_WAITING = "FROM executions INDEXED BY executions_queued WHERE status = 'queued' AND retry_at IS NULL"


def find(connection: sqlite3.Connection, execution_id: str) -> Execution | None:
    """One execution."""
    row = connection.execute(f"{_SELECT} WHERE execution_id = ?", (execution_id,)).fetchone()
    return None if row is None else rows.execution_of(row)


def record(connection: sqlite3.Connection, execution_id: str) -> tuple[Execution, Output] | None:
    """One execution with its output, which before its end is empty."""
    execution = find(connection, execution_id)
    if execution is None:
        return None
    return execution, _with_lines(connection, execution) if execution.status.is_terminal else Output()


def has_ended(connection: sqlite3.Connection, execution_id: str) -> bool | None:
    """``None`` where it has not ended, as far as is known; else whether all of its output that was kept is here."""
    execution = find(connection, execution_id)
    return _is_complete(connection, execution) if execution is not None and execution.status.is_terminal else None


def remembered(connection: sqlite3.Connection, execution_id: str) -> Remembered | None:
    """What is known of an execution by its id, removed or not."""
    for table in ("executions", "removed"):
        row = connection.execute(
            f"SELECT status, digest, accepted_at FROM {table} WHERE execution_id = ?",  # noqa: S608 - the tables are ours
            (execution_id,),
        ).fetchone()
        if row is not None:
            status, digest, accepted_at = row
            return Remembered(
                execution_id=execution_id,
                status=Status(status),
                digest=digest,
                accepted_at=rows.time_of(accepted_at),
                removed=table == "removed",
            )
    return None


def find_all(connection: sqlite3.Connection, execution_ids: Sequence[str]) -> list[Execution]:
    """Those of these executions that are known, in no particular order."""
    marks = ", ".join("?" * len(execution_ids))
    found = connection.execute(f"{_SELECT} WHERE execution_id IN ({marks})", tuple(execution_ids))
    return [rows.execution_of(row) for row in found]


def page(connection: sqlite3.Connection, limit: int, wanted: Wanted, before: int | None) -> Page:
    """The newest executions, in the order of the log: a publisher's clock can't push one to the top.

    Output that would take all of it together beyond :data:`LISTED_OUTPUT_BYTES` is left out, and so marked as not complete.
    """
    # One more than asked for shows whether there is a next page.
    sequences = _newest(connection, limit + 1, wanted, before)
    found = [connection.execute(f"{_SELECT} WHERE sequence = ?", (sequence,)).fetchone() for sequence in sequences[:limit]]
    room = LISTED_OUTPUT_BYTES
    listed = []
    for row in found:
        execution = rows.execution_of(row)
        size = sum(summary.kept_bytes for summary in (execution.stdout, execution.stderr) if summary is not None)
        fits = size <= room
        room -= size if fits else 0
        listed.append((execution, _output(connection, execution) if fits else Output()))
    return Page(listed, next=sequences[limit - 1] if len(sequences) > limit else None)


def _newest(connection: sqlite3.Connection, limit: int, wanted: Wanted, before: int | None) -> list[int]:
    """The numbers of the newest executions that are wanted, from an index and without looking at others.

    With a program each status is asked for by itself: the index has an order only within one.
    """
    branches: list[tuple[str, str, tuple[str, ...]]]
    if wanted.program_ids is not None:
        statuses = list(Status) if wanted.status is None else [wanted.status]
        pairs = [(program, status.value) for program in sorted(wanted.program_ids) for status in statuses]
        branches = [("INDEXED BY executions_by_program", "program_id = ? AND status = ? AND", pair) for pair in pairs]
    elif wanted.status is not None:
        branches = [("INDEXED BY executions_by_status", "status = ? AND", (wanted.status.value,))]
    else:
        branches = [("", "", ())]
    since, until = rows.text_of(wanted.since), rows.text_of(wanted.until)
    timed = "" if since is None and until is None else " AND accepted_at >= ? AND accepted_at < ?"
    times = () if not timed else (since or _FIRST_TIME, until or _LAST_TIME)
    newest: list[int] = []
    for lowest, below in ranges(connection, before, wanted.since, wanted.until):
        found: list[int] = []
        for index, condition, values in branches:
            # The words are ours; what callers say is always a bound value.
            select = (
                f"SELECT sequence FROM executions {index} WHERE {condition} sequence >= ? AND sequence < ?{timed}"  # noqa: S608
                " ORDER BY sequence DESC LIMIT ?"
            )
            rest = limit - len(newest)
            found += [number for (number,) in connection.execute(select, (*values, lowest, below, *times, rest))]
        newest += sorted(found, reverse=True)[: limit - len(newest)]
        if len(newest) == limit:
            break
    return newest


def running(connection: sqlite3.Connection) -> list[Execution]:
    """The executions that run, the oldest start first."""
    select = f"{_SELECT} INDEXED BY executions_running WHERE status = 'running' ORDER BY started_at"
    return [rows.execution_of(row) for row in connection.execute(select)]


def to_retry(connection: sqlite3.Connection, limit: int) -> list[ToRetry]:
    """The executions whose next attempt was not queued yet, the one that is due first in front."""
    found = connection.execute(
        "SELECT execution_id, attempt, retry_at, json_extract(earlier, '$[#-1].ended_at') FROM executions"
        " WHERE retry_at IS NOT NULL ORDER BY retry_at LIMIT ?",
        (limit,),
    )
    return [
        ToRetry(execution_id, attempt, datetime.fromisoformat(due_at), datetime.fromisoformat(since))
        for execution_id, attempt, due_at, since in found
    ]


def queued_pools(connection: sqlite3.Connection) -> list[str]:
    """The pools in which executions wait. Their number is what this costs, and not how many wait.

    Not what waits for its next attempt to be queued.
    """
    found = connection.execute(
        "WITH RECURSIVE pools (pool) AS ("  # noqa: S608
        f" SELECT min(pool) {_WAITING} UNION ALL"
        f" SELECT (SELECT min(pool) {_WAITING} AND pool > pools.pool) FROM pools WHERE pools.pool IS NOT NULL"
        ") SELECT pool FROM pools WHERE pool IS NOT NULL"
    )
    return [pool for (pool,) in found]


def queued_before(
    connection: sqlite3.Connection, pool: str | None, before: datetime, after: tuple[str, int], limit: int
) -> list[Queued]:
    """What waits in a pool (``None``: of no known pool) and was seen before a time, from a place on, the oldest first.

    Not what waits for its next attempt to be queued.
    """
    found = connection.execute(
        f"SELECT execution_id, attempt, seen_at, sequence {_WAITING}"
        " AND pool IS ? AND seen_at < ? AND (seen_at, sequence) > (?, ?) ORDER BY seen_at, sequence LIMIT ?",
        (pool, rows.text_of(before), *after, limit),
    )
    return [Queued(execution_id, attempt, (seen_at, sequence)) for execution_id, attempt, seen_at, sequence in found]


def held(connection: sqlite3.Connection) -> Held:
    """How many records there are, and how many of them of finished executions."""
    total, finished = connection.execute("SELECT total, finished FROM held").fetchone()
    return Held(total=total, finished=finished)


def statistics(connection: sqlite3.Connection) -> Statistics:
    """Cumulative counts. ``recent`` is exact to the minute."""
    by_status: dict[Status, dict[str, int]] = {status: {} for status in Status}
    for status, program_id, total in connection.execute("SELECT status, program_id, total FROM counters"):
        by_status[Status(status)][program_id] = total
    now = utc_now()
    # An hour ahead allows for clocks that disagree; a time beyond it is a publisher's mistake.
    (recent,) = connection.execute(
        "SELECT coalesce(sum(total), 0) FROM acceptances WHERE minute BETWEEN ? AND ?",
        (minute_of(now - timedelta(hours=24)), minute_of(now + timedelta(hours=1))),
    ).fetchone()
    return Statistics(by_status=by_status, recent=recent)


def output(connection: sqlite3.Connection, execution_id: str, attempt: int | None = None) -> Output:
    """What is known of an execution's output, or of that of an earlier attempt, with the lines around it."""
    execution = find(connection, execution_id)
    if execution is not None and attempt is not None:
        execution = execution.as_of(attempt)
    if execution is None:
        return Output()
    return _with_lines(connection, execution)


def _with_lines(connection: sqlite3.Connection, execution: Execution) -> Output:
    # What was said around the last attempt tells why it was not started, where it was not.
    said = execution.attempt if execution.status.is_terminal else execution.output_attempt
    before, after = (_inline(connection, execution.execution_id, said, place) or b"" for place in (BEFORE, AFTER))
    return replace(_output(connection, execution), before=before, after=after)


def is_output_complete(connection: sqlite3.Connection, execution_id: str) -> bool:
    """Whether the execution has ended and all of its output that was kept is here."""
    execution = find(connection, execution_id)
    return execution is not None and _is_complete(connection, execution)


def transitions_after(connection: sqlite3.Connection, position: int | None, limit: int) -> list[StoredTransition]:
    """The first transitions after a place in the log (``None``: from the first one)."""
    found = connection.execute(
        'SELECT "offset", key, event_id, event, happened_at, reply_to, correlation_id FROM transitions'
        ' WHERE "offset" > ? ORDER BY "offset" LIMIT ?',
        (-1 if position is None else position, limit),
    )
    return [
        StoredTransition(
            offset=offset,
            key=key,
            message=Message(
                id=event_id,
                body=event,
                content_type=CONTENT_TYPE,
                timestamp=rows.time_of(happened_at),
                correlation_id=correlation_id,
            ),
            reply_to=reply_to,
        )
        for offset, key, event_id, event, happened_at, reply_to, correlation_id in found
    ]


def _output(connection: sqlite3.Connection, execution: Execution) -> Output:
    return Output(
        stdout=_content(connection, execution, StreamName.STDOUT),
        stderr=_content(connection, execution, StreamName.STDERR),
        stdout_truncated=execution.stdout is not None and execution.stdout.truncated,
        stderr_truncated=execution.stderr is not None and execution.stderr.truncated,
        complete=_is_complete(connection, execution),
    )


def _content(connection: sqlite3.Connection, execution: Execution, stream: StreamName) -> bytes:
    attempt = execution.output_attempt
    inline = _inline(connection, execution.execution_id, attempt, stream)
    if inline is not None:
        return inline
    chunks = connection.execute(
        "SELECT content FROM output_chunks WHERE execution_id = ? AND attempt = ? AND stream = ? ORDER BY sequence",
        (execution.execution_id, attempt, stream),
    )
    return b"".join(chunk for (chunk,) in chunks)


def _inline(connection: sqlite3.Connection, execution_id: str, attempt: int, stream: str) -> bytes | None:
    row = connection.execute(
        "SELECT content FROM outputs WHERE execution_id = ? AND attempt = ? AND stream = ?", (execution_id, attempt, stream)
    ).fetchone()
    return None if row is None else bytes(row[0])


def _is_complete(connection: sqlite3.Connection, execution: Execution) -> bool:
    if not execution.status.is_terminal:
        return False
    streams = ((StreamName.STDOUT, execution.stdout), (StreamName.STDERR, execution.stderr))
    number = execution.output_attempt
    return all(
        has_all(connection, execution.execution_id, number, stream, summary or StreamSummary()) for stream, summary in streams
    )


def has_all(
    connection: sqlite3.Connection, execution_id: str, attempt: int, stream: StreamName, summary: StreamSummary
) -> bool:
    """Whether all that was kept of one stream of one attempt is here."""
    if summary.kept_bytes == 0:
        return True
    here, inline = connection.execute(
        "SELECT (SELECT count(*) FROM output_chunks"
        " WHERE execution_id = :id AND attempt = :attempt AND stream = :stream AND sequence < :chunks),"
        " EXISTS (SELECT 1 FROM outputs WHERE execution_id = :id AND attempt = :attempt AND stream = :stream)",
        {"id": execution_id, "attempt": attempt, "stream": stream, "chunks": summary.chunks},
    ).fetchone()
    return bool(inline) or 0 < summary.chunks == here
