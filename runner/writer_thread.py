"""One SQLite connection in one thread: every transaction of the file goes through it, several to a commit."""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from runner.errors import JournalClosed, JournalError

log = structlog.get_logger()

T = TypeVar("T")

#: What one commit may hold.
_MOST_IN_A_COMMIT = 256
#: Seconds that work which nobody waits for in a hurry waits for company: then it costs no commit of its own.
_PATIENT_SECONDS = 0.02
#: Seconds between tries while the disk is full or broken.
_RETRY_SECONDS = 0.5
#: Errors that can pass: the same work is tried again until it succeeds.
_PASSING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN})


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    then: Callable[[Any], None] | None
    is_patient: bool

    def settle(self, worked: bool, outcome: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._settle, worked, outcome)

    def _settle(self, worked: bool, outcome: Any) -> None:
        if worked and self.then is not None:
            self.then(outcome)
        if self.done.done():
            return  # the wait was cancelled
        if worked:
            self.done.set_result(outcome)
        else:
            self.done.set_exception(outcome)


class WriterThread:
    """Runs pieces of work on one connection, durably: what :meth:`do` returned for survives a power cut."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        #: What keeps the file from being written right now, for people; ``None`` where nothing does.
        self.problem: str | None = None

    def open(self) -> None:
        """Open the file, make its tables and start the thread. Blocks.

        Raises:
            JournalError: the file can't be used.
        """
        try:
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.executescript(self._schema)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise JournalError(f"{self._path} can't be used: {error}") from error
        self._connection = connection
        self._thread = threading.Thread(target=self._run, name=f"writer of {self._path.name}", daemon=True)
        self._thread.start()

    async def do(
        self, work: Callable[[sqlite3.Connection], T], *, then: Callable[[T], None] | None = None, patient: bool = False
    ) -> T:
        """What ``work`` returned in a transaction of the thread, once that is on disk: see :meth:`ask`.

        Raises:
            JournalClosed: the file was closed.
            JournalError: SQLite refuses the work.
        """
        result: T = await self.ask(work, then=then, patient=patient)
        return result

    def ask(
        self, work: Callable[[sqlite3.Connection], T], *, then: Callable[[T], None] | None = None, patient: bool = False
    ) -> asyncio.Future[T]:
        """Have ``work`` run in a transaction of the thread. Is done with what it returned, or its error, once it is on disk.

        Work is done in the order in which it was asked for. It may be run again from the start when the disk fails meanwhile.
        Cancelling the wait does not undo it. ``then`` is called with what it returned as soon as that is on disk, in the same
        order, whoever was cancelled. Where ``patient``, it may wait some milliseconds for other work to share a commit with.

        Raises:
            JournalClosed: the file was closed.
        """
        if self._closing.is_set() or self._thread is None:
            raise JournalClosed(f"{self._path.name} is not open")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(work, done, loop, then, patient))
        return done

    def close(self) -> None:
        """Finish what was asked for, then close the file. Blocks. Safe to repeat."""
        self._closing.set()
        self._jobs.put(None)
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _run(self) -> None:
        running = True
        while running:
            batch: list[_Job] = []
            job = self._jobs.get()
            hurry_at = time.monotonic() + _PATIENT_SECONDS
            while job is not None:
                batch.append(job)
                if len(batch) == _MOST_IN_A_COMMIT:
                    break
                if not job.is_patient:
                    hurry_at = 0.0
                try:
                    left = hurry_at - time.monotonic()
                    job = self._jobs.get(timeout=left) if left > 0 else self._jobs.get_nowait()
                except queue.Empty:
                    break
            running = job is not None
            if batch:
                self._do_all(batch)

    def _do_all(self, batch: list[_Job]) -> None:
        while True:
            try:
                outcomes = self._commit(batch)
            except sqlite3.Error as error:
                if _passes(error) and not self._closing.is_set():
                    if self.problem is None:
                        log.error("journal can't be written", action="journal_blocked", error=str(error))
                    self.problem = f"{self._path} can't be written: {error}"
                    time.sleep(_RETRY_SECONDS)
                    continue
                failure = JournalError(f"{self._path} can't be written: {error}")
                failure.__cause__ = error
                outcomes = [(False, failure)] * len(batch)
            else:
                self.problem = None
            for job, (worked, outcome) in zip(batch, outcomes, strict=True):
                job.settle(worked, outcome)
            return

    def _commit(self, batch: list[_Job]) -> list[tuple[bool, Any]]:
        """Do all in one transaction; one that fails by itself is undone alone."""
        connection = self._connection
        if connection is None:
            raise sqlite3.ProgrammingError("the file is closed")
        outcomes: list[tuple[bool, Any]] = []
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in batch:
                connection.execute("SAVEPOINT job")
                try:
                    outcomes.append((True, job.work(connection)))
                except Exception as error:
                    if isinstance(error, sqlite3.Error) and _passes(error):
                        raise
                    connection.execute("ROLLBACK TO job")
                    outcomes.append((False, error))
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return outcomes


def _passes(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _PASSING
