"""What writes the view: a batch is one transaction and counts once, however often it is read. Synchronous, for one thread."""

import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bus.messages import Batch, Position, Record, Source, StreamName
from hub import accepted_spans, counters, rows, view_retention
from hub.fold import Folded, Transition, fold
from hub.log_entries import Cleaned, Entry, Skip, runs, understand_all
from hub.stats import moves
from hub.view_schema import AFTER, BEFORE
from schemas import output
from schemas.errors import MalformedEvent
from schemas.events import AttemptEnded, Ended
from schemas.executions import CleanedUp, Execution
from schemas.failpoints import failpoint
from schemas.output_events import OutputChunk, parse_output

#: Executions that are asked for in one question.
_ASKED_TOGETHER = 250


@dataclass(slots=True)
class AppliedLog:
    """What a batch of the log did to the view."""

    transitions: int = 0
    #: Executions of which something changed.
    changed: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    #: Those of which all output that was kept came inside the event of that end.
    complete: set[str] = field(default_factory=set)
    skipped: Counter[Skip] = field(default_factory=Counter)
    #: By the id of the cleanup.
    cleanups: dict[str, CleanedUp] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AppliedOutput:
    """What a batch of output did to the view."""

    executions: frozenset[str] = frozenset()
    #: Records that were no output.
    malformed: int = 0


def apply_log(connection: sqlite3.Connection, batch: Batch, *, keep_finished: int, now: datetime) -> AppliedLog:
    """Fold a batch of the log into the view, and remove the oldest finished executions above ``keep_finished``.

    ``now`` is from when on the removed ones are remembered, and when what is new was seen.
    """
    with _transaction(connection):
        fresh = _not_applied(connection, StreamName.LOG, batch)
        if not fresh:
            return AppliedLog()
        entries, skipped = understand_all(fresh)
        applied = AppliedLog(skipped=skipped)
        # A cleanup sees the rows as they stand at its place in the log: what comes before it is stored first.
        for run in runs(entries):
            if isinstance(run, Cleaned):
                applied.cleanups[run.cleanup_id] = view_retention.remove_finished(connection, now)
            else:
                _apply_entries(connection, run, applied, now)
        if applied.ended:
            view_retention.remove_oldest(connection, keep_finished, now)
        view_retention.forget_old(connection, fresh[0].position.offset, now)
        _move_to(connection, StreamName.LOG, fresh[-1].position)
    view_retention.give_back(connection)
    return applied


def _apply_entries(connection: sqlite3.Connection, entries: list[Entry], applied: AppliedLog, now: datetime) -> None:
    known = _load(connection, {entry.execution_id for entry in entries})
    removed = _removed(connection, {entry.execution_id for entry in entries} - known.keys())
    folded = fold(known, _without(removed, entries, applied.skipped))
    _store(connection, known, folded, now)
    applied.transitions += len(folded.transitions)
    applied.changed |= folded.rows.keys()
    for transition in folded.transitions:
        if transition.is_terminal:
            applied.ended.add(transition.execution_id)
            if isinstance(fact := transition.event.data, Ended) and _has_all(fact):
                applied.complete.add(transition.execution_id)
    applied.skipped += folded.skipped


def apply_output(connection: sqlite3.Connection, batch: Batch) -> AppliedOutput:
    """Store a batch of output."""
    with _transaction(connection):
        fresh = _not_applied(connection, StreamName.OUTPUT, batch)
        if not fresh:
            return AppliedOutput()
        chunks = [chunk for record in fresh if (chunk := _chunk_of(record)) is not None]
        removed = _removed(connection, {chunk.execution_id for chunk in chunks})
        streams = {(chunk.execution_id, chunk.attempt, chunk.stream) for chunk in chunks if chunk.execution_id not in removed}
        # What came inside the event of an attempt's end is all there is: a chunk after it repeats a part.
        wanted = {stream for stream in streams if not _is_inline(connection, *stream)}
        connection.executemany(
            "INSERT OR IGNORE INTO output_chunks (execution_id, attempt, stream, sequence, content) VALUES (?, ?, ?, ?, ?)",
            [
                (chunk.execution_id, chunk.attempt, chunk.stream, chunk.sequence, chunk.content_bytes())
                for chunk in chunks
                if (chunk.execution_id, chunk.attempt, chunk.stream) in wanted
            ],
        )
        _move_to(connection, StreamName.OUTPUT, fresh[-1].position)
    return AppliedOutput(
        executions=frozenset(chunk.execution_id for chunk in chunks),
        malformed=len(fresh) - len(chunks),
    )


def trim_transitions(connection: sqlite3.Connection, before: int) -> None:
    """Forget the transitions of records before this offset."""
    with _transaction(connection):
        view_retention.trim_transitions(connection, before)
    view_retention.give_back(connection)


def begin_anew(connection: sqlite3.Connection, stream: StreamName) -> None:
    """The stream is another one from now on, whose places begin anew.

    Executions stay, and ended before all that will end. Transitions of the other log have no place in this one any more.
    """
    with _transaction(connection):
        position = position_of(connection, stream)
        if position is None:
            return
        if stream is StreamName.LOG:
            connection.execute("UPDATE executions SET ended_offset = ended_offset - ?", (position.offset + 1,))
            connection.execute("DELETE FROM transitions")
            connection.execute("DELETE FROM hours")
        connection.execute("DELETE FROM positions WHERE stream = ?", (stream,))


def position_of(connection: sqlite3.Connection, stream: StreamName) -> Position | None:
    """The last record of the stream that was applied."""
    row = connection.execute('SELECT "offset", message_id FROM positions WHERE stream = ?', (stream,)).fetchone()
    return None if row is None else Position(*row)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        failpoint("view.committing")
        connection.execute("COMMIT")
        failpoint("view.committed")
    except BaseException:
        # SQLite itself rolls back on some errors, such as a full disk.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _not_applied(connection: sqlite3.Connection, stream: StreamName, batch: Batch) -> list[Record]:
    position = position_of(connection, stream)
    return [record for record in batch if position is None or record.position.offset > position.offset]


def _move_to(connection: sqlite3.Connection, stream: StreamName, position: Position) -> None:
    connection.execute(
        'INSERT OR REPLACE INTO positions (stream, "offset", message_id) VALUES (?, ?, ?)',
        (stream, position.offset, position.message_id),
    )


def _load(connection: sqlite3.Connection, ids: Iterable[str]) -> dict[str, Execution]:
    found = _select(connection, f"SELECT {rows.COLUMNS} FROM executions", ids)  # noqa: S608 - the columns are ours
    executions = map(rows.execution_of, found)
    return {execution.execution_id: execution for execution in executions}


def _removed(connection: sqlite3.Connection, ids: Iterable[str]) -> set[str]:
    return {execution_id for (execution_id,) in _select(connection, "SELECT execution_id FROM removed", ids)}


def _select(connection: sqlite3.Connection, select: str, ids: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of these executions, asked for together: each question costs more than its answer."""
    left = iter(ids)
    while part := list(itertools.islice(left, _ASKED_TOGETHER)):
        yield from connection.execute(f"{select} WHERE execution_id IN ({', '.join('?' * len(part))})", part)


def _without(removed: set[str], entries: list[Entry], skipped: Counter[Skip]) -> list[Entry]:
    kept = [entry for entry in entries if entry.execution_id not in removed]
    if removed:
        skipped[Skip.REMOVED] += len(entries) - len(kept)
    return kept


def _store(connection: sqlite3.Connection, known: dict[str, Execution], folded: Folded, now: datetime) -> None:
    endings = {transition.execution_id: transition.offset for transition in folded.transitions if transition.is_terminal}
    accepted = []
    for execution_id, row in folded.rows.items():
        sequence = rows.store(connection, row, ended_offset=endings.get(execution_id), now=now)
        before = known.get(execution_id)
        if row.accepted_at is not None and (before is None or before.accepted_at != row.accepted_at):
            accepted.append((sequence, row.accepted_at))
    accepted_spans.widen(connection, accepted)
    # An execution ends once, and its row is there until that is removed.
    view_retention.count(connection, total=len(folded.rows.keys() - known.keys()), finished=len(endings))
    sums = moves((known.get(execution_id), row) for execution_id, row in folded.rows.items())
    counters.add(connection, sums)
    connection.executemany(
        "INSERT INTO acceptances (minute, total) VALUES (?, ?)"
        " ON CONFLICT (minute) DO UPDATE SET total = total + excluded.total",
        [(minute, step) for minute, step in sums.acceptances.items() if step],
    )
    connection.executemany(
        'INSERT INTO transitions ("offset", key, event_id, event, happened_at, reply_to, correlation_id)'
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        map(_transition_row, folded.transitions),
    )
    for transition in folded.transitions:
        if isinstance(transition.event.data, Ended | AttemptEnded):
            _store_inline(connection, transition.event.data)


def _transition_row(transition: Transition) -> tuple[object, ...]:
    event = transition.event
    return (
        transition.offset,
        event.routing_key,
        event.id,
        event.to_bytes(),
        rows.text_of(event.time),
        transition.reply_to,
        transition.correlation_id,
    )


def _store_inline(connection: sqlite3.Connection, fact: Ended | AttemptEnded) -> None:
    """Keep what came inside the event of an attempt's end; what came in pieces before it is a part of that."""
    contents: list[tuple[str, bytes]] = [
        (place, lines.encode())
        for place, lines in ((BEFORE, fact.lines_before), (AFTER, fact.lines_after))
        if lines is not None
    ]
    for stream, summary in ((output.StreamName.STDOUT, fact.stdout), (output.StreamName.STDERR, fact.stderr)):
        content = summary.content_bytes()
        # A stream that was never written to needs no place.
        if content is None or (not content and not summary.chunks):
            continue
        contents.append((stream, content))
        if summary.chunks:
            connection.execute(
                "DELETE FROM output_chunks WHERE execution_id = ? AND attempt = ? AND stream = ?",
                (fact.execution_id, fact.attempt, stream),
            )
    connection.executemany(
        "INSERT OR REPLACE INTO outputs (execution_id, attempt, stream, content) VALUES (?, ?, ?, ?)",
        [(fact.execution_id, fact.attempt, place, content) for place, content in contents],
    )


def _has_all(fact: Ended) -> bool:
    # Where a further attempt was never started, the output that is shown is that of an earlier one.
    return (fact.attempt == 1 or fact.started_at is not None) and all(
        summary.content is not None or not summary.chunks for summary in (fact.stdout, fact.stderr)
    )


def _is_inline(connection: sqlite3.Connection, execution_id: str, attempt: int, stream: output.StreamName) -> bool:
    select = "SELECT 1 FROM outputs WHERE execution_id = ? AND attempt = ? AND stream = ?"
    return connection.execute(select, (execution_id, attempt, stream)).fetchone() is not None


def _chunk_of(record: Record) -> OutputChunk | None:
    if record.source is not Source.REPORTS:
        return None
    try:
        event = parse_output(record.message.body)
    except MalformedEvent:
        return None
    return event.data if event.routing_key == record.key else None
