"""What the view shows to somebody who follows an execution. Synchronous; run inside one read transaction."""

import sqlite3

from hub import view_queries
from schemas.executions import Execution
from schemas.following import Piece, Place, Sight
from schemas.output import MAX_CHUNK_BYTES, StreamName

#: Pieces that are shown at a time: a follower of a flood must not hold all of it.
MOST_PIECES = 16


def sight(connection: sqlite3.Connection, execution_id: str, place: Place) -> Sight | None:
    """What is to be seen from a place; ``None`` where the execution is not known (any more)."""
    execution = view_queries.find(connection, execution_id)
    if execution is None:
        return None
    was_left = execution.attempt > place.attempt
    pieces = _published(connection, execution_id, place)
    if not pieces and (was_left or execution.status.is_terminal):
        pieces = _inline(connection, execution_id, place)
    complete = not pieces and (
        _may_be_left(connection, execution, place.attempt)
        if was_left
        else view_queries.is_output_complete(connection, execution_id)
    )
    return Sight(execution=execution, pieces=tuple(pieces), complete=complete)


def _may_be_left(connection: sqlite3.Connection, execution: Execution, number: int) -> bool:
    """Whether nothing more is to be seen of an earlier attempt: its output is waited for until the next one is queued."""
    attempt = next((attempt for attempt in execution.earlier if attempt.number == number), None)
    if attempt is None or execution.attempt > number + 1 or execution.retry_at is None:
        return True
    streams = ((StreamName.STDOUT, attempt.stdout), (StreamName.STDERR, attempt.stderr))
    return all(view_queries.has_all(connection, execution.execution_id, number, stream, summary) for stream, summary in streams)


def _published(connection: sqlite3.Connection, execution_id: str, place: Place) -> list[Piece]:
    # Rows are numbered as they came, which is the order of the two streams among each other as far as anybody knows it.
    found = connection.execute(
        "SELECT stream, sequence, content FROM output_chunks WHERE execution_id = ? AND attempt = ?"
        " AND sequence >= CASE stream WHEN 'stdout' THEN ? ELSE ? END ORDER BY rowid LIMIT ?",
        (
            *(execution_id, place.attempt),
            *(place.read[StreamName.STDOUT].chunks, place.read[StreamName.STDERR].chunks, MOST_PIECES),
        ),
    )
    return [Piece(StreamName(stream), sequence, content) for stream, sequence, content in found]


def _inline(connection: sqlite3.Connection, execution_id: str, place: Place) -> list[Piece]:
    """The rest of what came inside the event of the attempt's end, which took the place of the pieces before it."""
    pieces = []
    for stream in StreamName:
        read = place.read[stream]
        found = connection.execute(
            "SELECT substr(content, ?, ?) FROM outputs WHERE execution_id = ? AND attempt = ? AND stream = ?",
            (read.bytes + 1, MAX_CHUNK_BYTES, execution_id, place.attempt, stream),
        ).fetchone()
        if found is not None and found[0]:
            pieces.append(Piece(stream, read.chunks, found[0]))
    return pieces
