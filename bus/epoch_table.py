"""Which epochs are over, and who works under which, beside the decisions in one SQLite file."""

import sqlite3

from bus.messages import Claim, Epoch, Fence, Hello

SCHEMA = """
CREATE TABLE IF NOT EXISTS epochs (epoch TEXT PRIMARY KEY, runner_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fences (number INTEGER PRIMARY KEY AUTOINCREMENT, epoch TEXT NOT NULL UNIQUE);
CREATE INDEX IF NOT EXISTS claims_of_epochs ON decisions (epoch, sequence) WHERE attempt > 0;
"""


def apply(database: sqlite3.Connection, record: Fence | Hello) -> None:
    """Take the next record of the order."""
    if isinstance(record, Fence):
        database.execute("INSERT OR IGNORE INTO fences (epoch) VALUES (?)", (record.epoch,))
    else:
        database.execute("INSERT OR REPLACE INTO epochs (epoch, runner_id) VALUES (?, ?)", (record.epoch, record.runner_id))


def is_fenced(database: sqlite3.Connection, epoch: str) -> bool:
    """Whether the epoch is over."""
    return database.execute("SELECT 1 FROM fences WHERE epoch = ?", (epoch,)).fetchone() is not None


def fences_after(database: sqlite3.Connection, number: int, limit: int) -> list[tuple[int, str]]:
    """Epochs that are over, each with its number, after a number."""
    rows = database.execute("SELECT number, epoch FROM fences WHERE number > ? ORDER BY number LIMIT ?", (number, limit))
    return rows.fetchall()


# From one epoch to the next by the index, and not through all claims.
_WITH_CLAIMS = """
WITH RECURSIVE claimed(epoch) AS (
    SELECT (SELECT MIN(epoch) FROM decisions WHERE attempt > 0)
    UNION ALL
    SELECT (SELECT MIN(epoch) FROM decisions WHERE attempt > 0 AND epoch > claimed.epoch) FROM claimed WHERE epoch IS NOT NULL
)
SELECT claimed.epoch, epochs.runner_id, fences.epoch IS NOT NULL,
    (SELECT MAX(sequence) FROM decisions WHERE attempt > 0 AND decisions.epoch = claimed.epoch)
FROM claimed LEFT JOIN epochs ON epochs.epoch = claimed.epoch LEFT JOIN fences ON fences.epoch = claimed.epoch
WHERE claimed.epoch IS NOT NULL
"""


def with_claims(database: sqlite3.Connection) -> list[Epoch]:
    """Every epoch that attempts were claimed under."""
    return [
        Epoch(epoch=epoch, runner_id=runner_id, is_fenced=bool(fenced), last_claim=last_claim)
        for epoch, runner_id, fenced, last_claim in database.execute(_WITH_CLAIMS)
    ]


def claims_of(database: sqlite3.Connection, epoch: str, after: int, limit: int) -> list[tuple[int, Claim]]:
    """Attempts that were claimed under an epoch, with their sequence numbers, unless a later attempt was claimed too."""
    rows = database.execute(
        "SELECT sequence, execution_id, attempt, nonce, digest FROM decisions AS claims"
        " WHERE epoch = ? AND attempt > 0 AND sequence > ? AND NOT EXISTS ("
        "  SELECT 1 FROM decisions WHERE execution_id = claims.execution_id AND attempt > claims.attempt"
        " ) ORDER BY sequence LIMIT ?",
        (epoch, after, limit),
    )
    return [
        (sequence, Claim(execution_id=execution_id, attempt=attempt, epoch=epoch, nonce=nonce, digest=digest))
        for sequence, execution_id, attempt, nonce, digest in rows
    ]
