"""A journal, read from outside while its runner may be at work."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runner.errors import JournalError
from runner.run_spec import container_name


def claimed_names(path: Path) -> frozenset[str]:
    """The attempts that are claimed, as their containers are named; none where there is no journal. Blocks; changes nothing.

    Raises:
        JournalError: it can't be read.
    """
    return frozenset(container_name(*row) for row in _read(path, "SELECT execution_id, attempt FROM claims"))


def epoch_of(path: Path) -> str | None:
    """The journal's epoch; ``None`` where there is no journal. Blocks; changes nothing.

    Raises:
        JournalError: it can't be read.
    """
    return next((str(row[0]) for row in _read(path, "SELECT value FROM about WHERE name = 'epoch'")), None)


def _read(path: Path, sql: str) -> list[tuple[Any, ...]]:
    if not path.exists():
        return []
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            return db.execute(sql).fetchall()
    except sqlite3.Error as error:
        raise JournalError(f"{path} can't be read: {error}") from error
