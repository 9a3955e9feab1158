"""The tables of the journal, and their rows as what they mean."""

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from runner.claimed import Claimed, ClaimState
from runner.course import Course
from runner.outgoing import Report
from schemas.commands import ExecuteProgram
from schemas.errors import MalformedEvent
from schemas.events import AttemptEnded, Ended, parse_attempt_ended, parse_event
from schemas.output import StreamName, StreamSummary

SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS claims (
    execution_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    nonce TEXT NOT NULL,
    digest TEXT NOT NULL,
    command TEXT NOT NULL,
    state TEXT NOT NULL,
    program_id TEXT,
    started_at TEXT,
    stdout_bytes INTEGER NOT NULL DEFAULT 0,
    stdout_chunks INTEGER NOT NULL DEFAULT 0,
    stderr_bytes INTEGER NOT NULL DEFAULT 0,
    stderr_chunks INTEGER NOT NULL DEFAULT 0,
    course TEXT,
    epoch TEXT,
    PRIMARY KEY (execution_id, attempt)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS nonces (number INTEGER PRIMARY KEY AUTOINCREMENT, nonce TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS shares (
    execution_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    shares TEXT NOT NULL,
    PRIMARY KEY (execution_id, attempt, stream, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL,
    stream TEXT NOT NULL,
    key TEXT NOT NULL,
    message_id TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
"""


SELECT_CLAIM = """
SELECT execution_id, attempt, nonce, digest, command, state, program_id, started_at,
       stdout_bytes, stdout_chunks, stderr_bytes, stderr_chunks, course, epoch
FROM claims"""
INSERT_REPORT = "INSERT INTO outbox (execution_id, stream, key, message_id, body) VALUES (?, ?, ?, ?, ?)"
#: By the stream that was written to.
COUNT_OUTPUT = {
    StreamName.STDOUT: "UPDATE claims SET stdout_bytes = stdout_bytes + ?, stdout_chunks = stdout_chunks + 1 "
    "WHERE execution_id = ? AND attempt = ?",
    StreamName.STDERR: "UPDATE claims SET stderr_bytes = stderr_bytes + ?, stderr_chunks = stderr_chunks + 1 "
    "WHERE execution_id = ? AND attempt = ?",
}


def read_about(db: sqlite3.Connection) -> tuple[str, int]:
    """The epoch, made where there is none, and the bytes in the outbox; a file of a version before is brought up to date."""
    # A journal of a version before.
    for column in {"course", "epoch"} - {row[1] for row in db.execute("PRAGMA table_info(claims)")}:
        db.execute(f"ALTER TABLE claims ADD COLUMN {column} TEXT")
    if db.execute("INSERT OR IGNORE INTO about VALUES ('epoch', ?)", (str(uuid4()),)).rowcount:
        db.execute("INSERT INTO about VALUES ('keeps_nonces', 'yes')")
    (epoch,) = db.execute("SELECT value FROM about WHERE name = 'epoch'").fetchone()
    db.execute("UPDATE claims SET epoch = ? WHERE epoch IS NULL", (epoch,))
    (size,) = db.execute("SELECT COALESCE(SUM(LENGTH(body)), 0) FROM outbox").fetchone()
    return epoch, size


def ending_in(body: bytes) -> Ended | AttemptEnded | None:
    """The ending in a report's body; ``None`` where it is of another kind."""
    with contextlib.suppress(MalformedEvent):
        fact = parse_event(body).data
        return fact if isinstance(fact, Ended) else None
    with contextlib.suppress(MalformedEvent):
        return parse_attempt_ended(body).data
    return None


def row_of(report: Report) -> tuple[object, ...]:
    """The values of :data:`INSERT_REPORT`."""
    return report.execution_id, report.stream, report.key, report.message_id, report.body


def claim_of(row: Sequence[Any]) -> Claimed:
    """The claim in a row of :data:`SELECT_CLAIM`."""
    return Claimed(
        execution_id=row[0],
        attempt=row[1],
        epoch=row[13],
        nonce=row[2],
        digest=row[3],
        command=ExecuteProgram.model_validate(json.loads(row[4])),
        state=ClaimState(row[5]),
        program_id=row[6],
        started_at=None if row[7] is None else datetime.fromisoformat(row[7]),
        stdout=StreamSummary(total_bytes=row[8], kept_bytes=row[8], chunks=row[9]),
        stderr=StreamSummary(total_bytes=row[10], kept_bytes=row[10], chunks=row[11]),
        course=None if row[12] is None else Course.model_validate_json(row[12]),
    )
