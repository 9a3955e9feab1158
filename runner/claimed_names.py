"""The claims of a journal, read from outside while its runner may be at work."""

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import quote

from runner.errors import JournalError
from runner.run_spec import container_name


def claimed_names(path: Path) -> frozenset[str]:
    """The attempts that are claimed, as their containers are named; none where there is no journal. Blocks; changes nothing.

    Raises:
        JournalError: it can't be read.
    """
    if not path.exists():
        return frozenset()
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            return frozenset(container_name(*row) for row in db.execute("SELECT execution_id, attempt FROM claims"))
    except sqlite3.Error as error:
        raise JournalError(f"{path} can't be read: {error}") from error
