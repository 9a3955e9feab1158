"""The rule by which decisions are made, kept in a SQLite table: of the proposals for an attempt, the first one decides it.

A claim whose epoch was fenced before it is void: as if it had not been made.

Both buses use it. On RabbitMQ the order is that of the control stream, and every process keeps its own copy of the table.

A claim is kept for as long as the order itself is, counted from when it was told last: whoever has something in hand says so
again (:mod:`runner.reclaims`). Ends are kept for good; they are few.
"""

import sqlite3

from bus import epoch_table
from bus.errors import Fenced
from bus.messages import CANCELLED, Claim, Decision, End, Proposal

SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,  -- 0: an end, which decides all attempts that no claim has decided; -1: _LATE_CANCEL
    epoch TEXT, nonce TEXT, digest TEXT,
    reason TEXT, requested_by TEXT, why TEXT,
    told INTEGER NOT NULL DEFAULT 0,  -- of a claim: where in the order, or when, it was proposed last
    UNIQUE (execution_id, attempt)
);
-- Few among the claims, and read apart.
CREATE INDEX IF NOT EXISTS ends ON decisions (sequence) WHERE attempt <= 0;
"""
SCHEMA += epoch_table.SCHEMA
# Once the column is there.
_CLAIMS_BY_AGE = "CREATE INDEX IF NOT EXISTS claims_by_age ON decisions (told) WHERE attempt > 0"
#: Claims that are forgotten in one go, so that nobody waits for it for long.
FORGOTTEN_AT_A_TIME = 1_000
_COLUMNS = "sequence, execution_id, attempt, epoch, nonce, digest, reason, requested_by, why"
_END = 0
#: The first cancel, where an end of another kind came before it: that one may mean nothing to who runs the execution already.
_LATE_CANCEL = -1
_Row = tuple[int, str, int, str, str, str, str, str | None, str | None]


def prepare(database: sqlite3.Connection, told: int) -> None:
    """Make the table, or bring one of an earlier version up to date: what is in there counts as told at ``told``."""
    database.executescript(SCHEMA)
    columns = {row[1] for row in database.execute("PRAGMA table_info(decisions)")}
    if "why" not in columns:
        database.execute("ALTER TABLE decisions ADD COLUMN why TEXT")
    if "told" not in columns:
        # A constant, which no row is written for.
        database.execute(f"ALTER TABLE decisions ADD COLUMN told INTEGER NOT NULL DEFAULT {told:d}")
    database.execute(_CLAIMS_BY_AGE)


def apply(database: sqlite3.Connection, proposal: Proposal, told: int) -> bool:
    """Take the next proposal of the order, told at ``told``; whether it decided something. Later ones never change what was
    decided.
    """
    if isinstance(proposal, End):
        cursor = database.execute(
            "INSERT OR IGNORE INTO decisions (execution_id, attempt, reason, requested_by, why) VALUES (?, ?, ?, ?, ?)",
            (proposal.execution_id, _END, proposal.reason, proposal.requested_by, proposal.why),
        )
        if cursor.rowcount == 0 and proposal.reason == CANCELLED:
            database.execute(
                "INSERT OR IGNORE INTO decisions (execution_id, attempt, reason, requested_by, why) SELECT ?, ?, ?, ?, ?"
                " WHERE NOT EXISTS (SELECT 1 FROM decisions WHERE execution_id = ? AND attempt = ? AND reason = ?)",
                (
                    *(proposal.execution_id, _LATE_CANCEL, proposal.reason, proposal.requested_by, proposal.why),
                    *(proposal.execution_id, _END, CANCELLED),
                ),
            )
    else:
        cursor = database.execute(
            "INSERT OR IGNORE INTO decisions (execution_id, attempt, epoch, nonce, digest, told) SELECT ?, ?, ?, ?, ?, ?"
            " WHERE NOT EXISTS (SELECT 1 FROM decisions WHERE execution_id = ? AND attempt = ?)"
            " AND NOT EXISTS (SELECT 1 FROM fences WHERE epoch = ?)",
            (
                *(proposal.execution_id, proposal.attempt, proposal.epoch, proposal.nonce, proposal.digest, told),
                *(proposal.execution_id, _END, proposal.epoch),
            ),
        )
        if cursor.rowcount == 0:
            database.execute(
                "UPDATE decisions SET told = MAX(told, ?) WHERE execution_id = ? AND attempt = ? AND nonce = ?",
                (told, proposal.execution_id, proposal.attempt, proposal.nonce),
            )
    return cursor.rowcount == 1


def forget(database: sqlite3.Connection, before: int, limit: int = FORGOTTEN_AT_A_TIME) -> int:
    """Forget claims that were told last before a place or time, at most so many; how many."""
    return database.execute(
        "DELETE FROM decisions WHERE sequence IN (SELECT sequence FROM decisions WHERE attempt > 0 AND told < ? LIMIT ?)",
        (before, limit),
    ).rowcount


def find(database: sqlite3.Connection, execution_id: str, attempt: int) -> Decision | None:
    """The decision for an attempt: its claim, or else the execution's end. A claim is kept only if it came before the end."""
    row = database.execute(
        f"SELECT {_COLUMNS} FROM decisions WHERE execution_id = ? AND attempt IN (?, ?) ORDER BY attempt DESC LIMIT 1",  # noqa: S608
        (execution_id, attempt, _END),
    ).fetchone()
    return None if row is None else _decision(row)


def answer(database: sqlite3.Connection, proposal: Proposal) -> Decision | None:
    """What to tell who proposed this: the decision, or ``None`` where the proposal is not in the order yet.

    For a claim, the decision for its attempt. For an end, the newest claim that came before it, else the first end. A cancel is
    in the order only where there is a cancel.

    Raises:
        Fenced: the claim would be void, and nothing is decided.
    """
    if isinstance(proposal, Claim):
        decision = find(database, proposal.execution_id, proposal.attempt)
        if decision is None and epoch_table.is_fenced(database, proposal.epoch):
            raise Fenced(proposal.epoch)
        return decision
    rows = database.execute(
        f"SELECT {_COLUMNS} FROM decisions WHERE execution_id = ? ORDER BY attempt DESC",  # noqa: S608
        (proposal.execution_id,),
    ).fetchall()
    ends = [row for row in rows if row[2] <= _END]
    is_there = any(row[6] == CANCELLED for row in ends) if proposal.reason == CANCELLED else bool(ends)
    return _decision(rows[0]) if is_there else None


def after(database: sqlite3.Connection, sequence: int, limit: int) -> list[tuple[int, Decision]]:
    """Decisions after a sequence number, with theirs, in the order they were made."""
    rows = database.execute(
        f"SELECT {_COLUMNS} FROM decisions WHERE sequence > ? AND attempt >= {_END} ORDER BY sequence LIMIT ?",  # noqa: S608
        (sequence, limit),
    )
    return [(row[0], _decision(row)) for row in rows]


def end_of(database: sqlite3.Connection, execution_id: str) -> End | None:
    """The first cancel of an execution, else its first end of another kind; whether or not a claim came before it."""
    row = database.execute(
        f"SELECT {_COLUMNS} FROM decisions WHERE execution_id = ? AND attempt <= ? ORDER BY attempt LIMIT 1",  # noqa: S608
        (execution_id, _END),
    ).fetchone()
    return None if row is None else _end(row)


def ends_after(database: sqlite3.Connection, sequence: int, limit: int) -> list[tuple[int, End]]:
    """First ends and first cancels of executions after a sequence number, with theirs, in order."""
    rows = database.execute(
        f"SELECT {_COLUMNS} FROM decisions WHERE attempt <= {_END} AND sequence > ? ORDER BY sequence LIMIT ?",  # noqa: S608
        (sequence, limit),
    )
    return [(row[0], _end(row)) for row in rows]


def last_sequence(database: sqlite3.Connection) -> int:
    """Sequence number of the newest decision there ever was; 0 before the first."""
    # Numbers are given once, and the newest decision may be forgotten.
    row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'decisions'").fetchone()
    return 0 if row is None else int(row[0])


def _decision(row: _Row) -> Decision:
    _, execution_id, attempt, epoch, nonce, digest, *_ = row
    if attempt <= _END:
        return _end(row)
    return Claim(execution_id=execution_id, attempt=attempt, epoch=epoch, nonce=nonce, digest=digest)


def _end(row: _Row) -> End:
    return End(execution_id=row[1], reason=row[6], requested_by=row[7], why=row[8])
