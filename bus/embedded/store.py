"""Access to the file from the event loop: one thread writes, another reads."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog

from bus.embedded import database as files
from bus.errors import BusClosed, BusUnavailable
from bus.file_lock import FileLock
from schemas.failpoints import failpoint

log = structlog.get_logger()

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

#: Writes that may wait for the disk; above it nothing more is taken.
MOST_WAITING = 10_000


@dataclass(eq=False)
class _Write(Generic[T]):
    operation: Operation[T]
    done: asyncio.Future[T]
    then: Callable[[T], None] | None
    #: What happened, told to the others once it is on the disk.
    result: T | None = None
    error: Exception | None = None


class Store:
    """The file, from :meth:`open` to :meth:`close`.

    Writes that are asked for while a commit is under way, or within one turn of the loop, share the next commit: the disk is
    waited for once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: ThreadPoolExecutor | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._lock: FileLock | None = None
        self._database: sqlite3.Connection | None = None
        self._reading: sqlite3.Connection | None = None
        self._waiting: list[_Write[Any]] = []
        self._committing: asyncio.Task[None] | None = None
        self._commits = 0
        self._closed = False
        self._problem: str | None = "not open yet"

    @property
    def problem(self) -> str | None:
        """What is wrong with the file; ``None`` where nothing is."""
        return self._problem

    @property
    def commits(self) -> int:
        """How often the disk was waited for."""
        return self._commits

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._database is not None and not self._closed

    async def open(self) -> None:
        """Open the file, making it where there is none. Safe to repeat.

        Raises:
            BusInUse: another process has it open.
            BusUnavailable: it can't be opened now.
            BusClosed: it was closed before.
        """
        if self._closed:
            raise BusClosed("the bus is closed")
        if self._database is not None:
            return
        loop = asyncio.get_running_loop()
        self._writer = self._writer or ThreadPoolExecutor(max_workers=1, thread_name_prefix="bus writer")
        self._reader = self._reader or ThreadPoolExecutor(max_workers=1, thread_name_prefix="bus reader")
        with ExitStack() as undo:
            try:
                lock = files.lock(self._path.with_suffix(".lock"))
                undo.callback(lock.release)
                database = await loop.run_in_executor(self._writer, files.connect, self._path)
                undo.callback(database.close)
                reading = await loop.run_in_executor(self._reader, files.connect_reader, self._path)
            except (OSError, sqlite3.Error) as error:
                raise BusUnavailable(f"the file {self._path} can't be opened: {error}") from error
            undo.pop_all()
        self._lock, self._database, self._reading = lock, database, reading
        self._problem = None

    async def close(self) -> None:
        """Commit what was asked for, and let go of the file. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        if self._committing is not None:
            await asyncio.wait({self._committing})
        loop = asyncio.get_running_loop()
        for thread, database in ((self._reader, self._reading), (self._writer, self._database)):
            if thread is not None and database is not None:
                await loop.run_in_executor(thread, database.close)
            if thread is not None:
                thread.shutdown(wait=False)
        if self._lock is not None:
            self._lock.release()
        self._problem = "closed"

    async def write(self, operation: Operation[T], then: Callable[[T], None] | None = None) -> T:
        """Do something to the file; it is on the disk when this returns.

        ``then`` is called with the result as soon as it is on the disk, even if the caller was cancelled meanwhile: the
        operation goes on all the same.

        Raises:
            BusUnavailable: with ``outcome_unknown`` where the commit failed.
        """
        database = self._usable(self._database)
        if len(self._waiting) >= MOST_WAITING:
            raise BusUnavailable("too much waits for the disk")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(operation, done, then))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all(database), name="bus commits")
        return await done

    async def read(self, operation: Operation[T]) -> T:
        """Ask the file something.

        Raises:
            BusUnavailable: it can't be read now.
        """
        database = self._usable(self._reading)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, operation, database)
        except sqlite3.Error as error:
            raise BusUnavailable(f"the file {self._path} can't be read: {error}") from error

    def _usable(self, database: sqlite3.Connection | None) -> sqlite3.Connection:
        if self._closed:
            raise BusClosed("the bus is closed")
        if database is None:
            raise BusUnavailable("the bus is not open yet")
        return database

    async def _commit_all(self, database: sqlite3.Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                self._commits += 1
                error = await loop.run_in_executor(self._writer, _commit, database, batch)
                if error is None:
                    self._problem = None
                else:
                    self._problem = f"the file {self._path} can't be written: {error}"
                    log.error("can't write", action="bus_write_failed", path=str(self._path), error=str(error))
                for write in batch:
                    self._tell(write, error)
        finally:
            self._committing = None

    @staticmethod
    def _tell(write: _Write[Any], error: Exception | None) -> None:
        failure = write.error
        if error is not None:
            # A full disk has taken nothing: the whole transaction was rolled back. What else may be on the disk, nobody knows.
            full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            failure = BusUnavailable(f"the bus can't be written: {error}", outcome_unknown=not full)
            failure.__cause__ = error
        if failure is None and write.then is not None:
            write.then(write.result)
        if write.done.cancelled():
            return
        if failure is not None:
            write.done.set_exception(failure)
        else:
            write.done.set_result(write.result)


def _commit(database: sqlite3.Connection, batch: list[_Write[Any]]) -> Exception | None:
    """In the writer's thread: all of them in one transaction, each for itself within it. The error of the commit, if any."""
    try:
        database.execute("BEGIN IMMEDIATE")
        for write in batch:
            database.execute("SAVEPOINT one")
            try:
                write.result = write.operation(database)
            except sqlite3.Error:
                raise
            except Exception as error:
                write.error = error
                database.execute("ROLLBACK TO one")
            database.execute("RELEASE one")
        failpoint("embedded.committing")
        database.execute("COMMIT")
        failpoint("embedded.committed")
    except Exception as error:
        # A full disk has rolled back already; a second failure is the first one's.
        with suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        return error
    return None
