"""The file of the embedded bus."""

import sqlite3
import time
from pathlib import Path

from bus import decision_table
from bus.errors import BusInUse
from bus.file_lock import FileLock
from bus.messages import StreamName

_MESSAGE = "message_id TEXT, body BLOB NOT NULL, content_type TEXT NOT NULL, timestamp TEXT, reply_to TEXT, correlation_id TEXT"

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS work (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, pool TEXT NOT NULL, queued_at REAL NOT NULL, {_MESSAGE},
    source TEXT NOT NULL DEFAULT 'commands'
);
CREATE TABLE IF NOT EXISTS dead_letters (
    place INTEGER PRIMARY KEY AUTOINCREMENT, letter_id TEXT NOT NULL UNIQUE, dead_at TEXT NOT NULL, reason TEXT NOT NULL,
    detail TEXT NOT NULL, routing_key TEXT NOT NULL, {_MESSAGE}
);
CREATE TABLE IF NOT EXISTS checkpoint (only INTEGER PRIMARY KEY CHECK (only = 1), position INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS subscriptions (name TEXT NOT NULL, pattern TEXT NOT NULL, PRIMARY KEY (name, pattern));
CREATE TABLE IF NOT EXISTS announcements (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, key TEXT NOT NULL, {_MESSAGE}
);
CREATE INDEX IF NOT EXISTS announcements_by_name ON announcements (name, sequence);
""" + "".join(
    f"""
CREATE TABLE IF NOT EXISTS stream_{stream.value} (
    stream_offset INTEGER PRIMARY KEY AUTOINCREMENT, appended_at REAL NOT NULL, source TEXT NOT NULL, key TEXT NOT NULL,
    {_MESSAGE}
);
"""
    for stream in StreamName
)


# Once the columns of an earlier version's file are there. In a pool by their turn, and by age.
_WORK_INDEXES = """
CREATE INDEX IF NOT EXISTS work_by_pool ON work (pool);
CREATE INDEX IF NOT EXISTS work_by_age ON work (pool, queued_at);
"""


def lock(path: Path) -> FileLock:
    """Keep a second process from the file.

    Raises:
        BusInUse: somebody else has it.
    """
    try:
        return FileLock(path)
    except BlockingIOError as error:
        raise BusInUse(
            f"the embedded bus in {path.parent} is open already: one process at a time may use it."
            " Stop the other hub, or give this one a HUB_STATE_DIR of its own."
        ) from error


def connect(path: Path) -> sqlite3.Connection:
    """A connection that may write. For one thread at a time, whichever."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        # A commit is a promise to somebody, so it is on the disk.
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(_SCHEMA)
        if "source" not in {row[1] for row in database.execute("PRAGMA table_info(work)")}:  # of an earlier version
            database.execute("ALTER TABLE work ADD COLUMN source TEXT NOT NULL DEFAULT 'commands'")
        _add_queued_at(database)
        database.executescript(_WORK_INDEXES)
        decision_table.prepare(database, told=int(time.time()))
    except BaseException:
        database.close()
        raise
    return database


def _add_queued_at(database: sqlite3.Connection) -> None:
    """Bring a file of an earlier version up to date: what waits there has waited since now."""
    if "queued_at" not in {row[1] for row in database.execute("PRAGMA table_info(work)")}:
        # NOT NULL asks for a default, and none but a constant is allowed here.
        database.execute("ALTER TABLE work ADD COLUMN queued_at REAL NOT NULL DEFAULT 0")
        database.execute("UPDATE work SET queued_at = ?", (time.time(),))


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads; it never waits for the one that writes."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA query_only=ON")
    return database
