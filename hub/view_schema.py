"""The tables of the view, and what becomes of a file with other ones.

- executions: one row an execution, numbered in the order of the log
- held: how many rows of executions there are, so that nobody counts them
- accepted_spans: of each thousand numbers, the first and the last time of acceptance (:mod:`hub.accepted_spans`)
- removed: tombstones of executions whose rows are gone: a late record does not bring them back, a repeated request knows them
- outputs: output that came inside the event of an attempt's end, and the lines around it (streams ``before`` and ``after``)
- output_chunks: output that came in pieces; superseded by the above
- counters: executions ever, per status and program
- acceptances: executions ever, per minute of acceptance
- transitions: what the fold accepted, by its place in the log, for the announcer
- positions: how far each stream was applied
- hours: where the log stood at the first batch of each hour in which it grew, for what goes by age

There is an index for whatever is asked about many executions: a million that wait cost an answer nothing.
"""

import sqlite3
from pathlib import Path

#: Raised with every change of the tables. The view can be made anew from the log, so an old file is dropped, never migrated.
VERSION = 6

#: The lines around an execution's output, beside its streams in ``outputs``.
BEFORE, AFTER = "before", "after"

_TABLES = """
CREATE TABLE executions (
    sequence INTEGER PRIMARY KEY,
    execution_id TEXT NOT NULL UNIQUE,
    program_id TEXT NOT NULL,
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    earlier TEXT,
    retry_at TEXT,
    retried_at TEXT,
    output_attempt INTEGER NOT NULL,
    pool TEXT,
    parameters TEXT,
    submitted_by TEXT,
    accepted_at TEXT,
    started_at TEXT,
    ended_at TEXT,
    runner_id TEXT,
    image TEXT,
    container_id TEXT,
    was_warm INTEGER,
    exit_code INTEGER,
    oom_killed INTEGER NOT NULL,
    reason TEXT,
    category TEXT,
    message TEXT,
    progress TEXT,
    progress_at TEXT,
    stdout TEXT,
    stderr TEXT,
    digest TEXT,
    reply_to TEXT,
    correlation_id TEXT,
    ended_offset INTEGER,
    seen_at TEXT NOT NULL  -- when its attempt was queued as this view saw it: times of callers are their word
) STRICT;
CREATE INDEX executions_running ON executions (started_at) WHERE status = 'running';
CREATE INDEX executions_to_retry ON executions (retry_at) WHERE retry_at IS NOT NULL;
CREATE INDEX executions_queued ON executions (pool, seen_at) WHERE status = 'queued' AND retry_at IS NULL;
CREATE INDEX executions_ended ON executions (ended_offset) WHERE ended_offset IS NOT NULL;
-- Each has the sequence at its end, as every index has.
CREATE INDEX executions_by_status ON executions (status);
CREATE INDEX executions_by_program ON executions (program_id, status);

CREATE TABLE held (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    total INTEGER NOT NULL,
    finished INTEGER NOT NULL
) STRICT;
INSERT INTO held (only, total, finished) VALUES (1, 0, 0);

CREATE TABLE accepted_spans (
    block INTEGER PRIMARY KEY,
    first TEXT NOT NULL,
    last TEXT NOT NULL
) STRICT;

CREATE TABLE removed (
    sequence INTEGER PRIMARY KEY,
    execution_id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    digest TEXT,
    accepted_at TEXT,
    removed_at TEXT NOT NULL
) STRICT;
CREATE INDEX removed_by_age ON removed (removed_at);

CREATE TABLE outputs (
    execution_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    stream TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (execution_id, attempt, stream)
) STRICT;

CREATE TABLE output_chunks (
    execution_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (execution_id, attempt, stream, sequence)
) STRICT;

CREATE TABLE counters (
    status TEXT NOT NULL,
    program_id TEXT NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (status, program_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE acceptances (
    minute INTEGER PRIMARY KEY,
    total INTEGER NOT NULL
) STRICT;

CREATE TABLE transitions (
    "offset" INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event BLOB NOT NULL,
    happened_at TEXT,
    reply_to TEXT,
    correlation_id TEXT
) STRICT;

CREATE TABLE positions (
    stream TEXT PRIMARY KEY,
    "offset" INTEGER NOT NULL,
    message_id TEXT
) STRICT;

CREATE TABLE hours (
    "offset" INTEGER PRIMARY KEY,
    hour INTEGER NOT NULL UNIQUE
) STRICT;
"""

#: KiB of the file that each connection keeps in memory: it has that much however large the file is. What is not there, the
#: system has.
_WRITER_CACHE_KIB, _READER_CACHE_KIB = 2_000, 500


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that may write. A file of another version, or one that is no database, is dropped and made anew.

    Raises:
        sqlite3.OperationalError: the file is locked, unreadable or can't grow: nothing that a new one would make better.
        OSError: the same, seen by the file system.
    """
    connection = _open_current(path)
    if connection is not None:
        return connection
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        file.unlink(missing_ok=True)
    return _create(path)


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that can't write. It may be used by any thread, by one at a time."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute(f"PRAGMA cache_size = {-_READER_CACHE_KIB}")
    return connection


def _open_current(path: Path) -> sqlite3.Connection | None:
    try:
        connection = _connect(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return None
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    if version == VERSION:
        return connection
    connection.close()
    return None


def _create(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        # One transaction: a file that has the version has all the tables.
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    # The output of programs is nobody else's business; SQLite gives its side files the same mode.
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute(f"PRAGMA cache_size = {-_WRITER_CACHE_KIB}")
        # What was removed can be given back to the disk. Of effect on a new file alone, before anything is in it.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        # After a power loss the view may be a little behind, never damaged; the log has what is missing.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {64 * 1024**2}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
