"""What SQLite does to answer: which of the statements that were run walk through a table from its beginning to its end."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

_READS_ROWS = re.compile(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


class Statements:
    """The statements that connections were asked to run, with their values."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    @contextmanager
    def listening(self, *connections: sqlite3.Connection) -> Iterator[None]:
        """Hear what these are asked inside the context."""
        for connection in connections:
            connection.set_trace_callback(self._hear)
        try:
            yield
        finally:
            for connection in connections:
                connection.set_trace_callback(None)

    def _hear(self, statement: str) -> None:
        if _READS_ROWS.match(statement):
            self._seen.add(statement)

    def __len__(self) -> int:
        return len(self._seen)

    def scans(self, connection: sqlite3.Connection, *tables: str) -> list[tuple[str, str]]:
        """Those that scan one of these tables, or sort rows of more than one execution: what SQLite says, and the statement."""
        odd = re.compile(rf"SCAN ({'|'.join(tables)})\b|USE TEMP B-TREE")
        found = []
        for statement in sorted(self._seen):
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
            if " execution_id = '" not in statement:
                found += [(detail, statement) for *_, detail in plan if odd.search(detail)]
        return found


class Steps:
    """A count of the machine's steps: what an answer costs, whatever else this computer does."""

    def __init__(self, connection: sqlite3.Connection, every: int) -> None:
        """From now on, to ``every`` steps exactly."""
        self.taken = 0

        def add() -> int:
            self.taken += every
            return 0

        connection.set_progress_handler(add, every)
