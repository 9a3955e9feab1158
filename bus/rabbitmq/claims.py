"""A runner's copy of what the control stream has decided, on disk: rebuilt from the stream whenever it does not fit."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import structlog

from bus import decision_table, epoch_table
from bus.messages import Claim, Decision, End, Epoch, Fence, Hello, Position, Proposal

log = structlog.get_logger()

_SCHEMA = """
CREATE TABLE IF NOT EXISTS place (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    stream_offset INTEGER NOT NULL,
    message_id TEXT
);
"""


class Claims:
    """Decisions, and how far the control stream was read. Blocks; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = self._open()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def position(self) -> Position | None:
        """The last record that was applied."""
        row = self._database.execute("SELECT stream_offset, message_id FROM place").fetchone()
        return None if row is None else Position(*row)

    def apply(self, records: Sequence[Proposal | Fence | Hello], position: Position) -> int:
        """Take records in the order of the stream, up to a position; the sequence number of the newest decision."""
        with self._database:
            for record in records:
                if isinstance(record, Fence | Hello):
                    epoch_table.apply(self._database, record)
                else:
                    decision_table.apply(self._database, record, position.offset)
            self._database.execute(
                "INSERT OR REPLACE INTO place (only, stream_offset, message_id) VALUES (1, ?, ?)",
                (position.offset, position.message_id),
            )
        return self.last_sequence()

    def forget(self, before: int) -> int:
        """Forget claims that were told last before a place in the stream, some at a time; how many."""
        position = self.position()
        if position is None or position.offset < before:
            return 0  # the place is another stream's, which this one has replaced
        with self._database:
            return decision_table.forget(self._database, before)

    def clear(self) -> None:
        """Forget everything: the stream will be read from its first record."""
        with self._database:
            for table in ("decisions", "epochs", "fences", "place"):
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608 - the tables are ours

    def find(self, execution_id: str, attempt: int) -> Decision | None:
        """The decision for an attempt."""
        return decision_table.find(self._database, execution_id, attempt)

    def answer(self, proposal: Proposal) -> Decision | None:
        """What to tell who proposed this; ``None`` where it is not decided yet.

        Raises:
            Fenced: its epoch is over, so it will never decide anything.
        """
        return decision_table.answer(self._database, proposal)

    def after(self, sequence: int, limit: int) -> list[tuple[int, Decision]]:
        """Decisions after a sequence number."""
        return decision_table.after(self._database, sequence, limit)

    def end_of(self, execution_id: str) -> End | None:
        """The first end of an execution."""
        return decision_table.end_of(self._database, execution_id)

    def ends_after(self, sequence: int, limit: int) -> list[tuple[int, End]]:
        """Ends after a sequence number."""
        return decision_table.ends_after(self._database, sequence, limit)

    def is_fenced(self, epoch: str) -> bool:
        """Whether an epoch is over."""
        return epoch_table.is_fenced(self._database, epoch)

    def fences_after(self, number: int, limit: int) -> list[tuple[int, str]]:
        """Epochs that are over, after a number."""
        return epoch_table.fences_after(self._database, number, limit)

    def with_claims(self) -> list[Epoch]:
        """Every epoch that attempts were claimed under."""
        return epoch_table.with_claims(self._database)

    def claims_of(self, epoch: str, after: int, limit: int) -> list[tuple[int, Claim]]:
        """The newest claims of executions that were made under an epoch."""
        return epoch_table.claims_of(self._database, epoch, after, limit)

    def last_sequence(self) -> int:
        """Sequence number of the newest decision."""
        return decision_table.last_sequence(self._database)

    def _open(self) -> sqlite3.Connection:
        try:
            return _connect(self._path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # a full disk or a missing folder: nothing is wrong with the file
            log.warning(
                "decisions are unreadable and read anew", action="claims_rebuilt", path=str(self._path), error=str(error)
            )
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return _connect(self._path)


def _connect(path: Path) -> sqlite3.Connection:
    # Used by a single worker thread, which need not be the one that opens it.
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        # What a power loss takes away is read from the stream again.
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(_SCHEMA)
        place = database.execute("SELECT stream_offset FROM place").fetchone()
        decision_table.prepare(database, told=0 if place is None else place[0])
    except BaseException:
        database.close()
        raise
    return database
