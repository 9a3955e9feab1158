"""The view: the read model in one SQLite file. Disposable: what is missing or of another version is made anew."""

import asyncio
import queue
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from bus.messages import Batch, Position, StreamName
from gateway.errors import ViewUnavailable
from hub import view_following, view_queries, view_retention, view_writer
from hub.transitions import StoredTransition
from hub.view_schema import open_reader, open_writer
from hub.view_writer import AppliedLog, AppliedOutput
from schemas.executions import EVERYTHING, Execution, Held, Page, Queued, Remembered, Statistics, ToRetry, Wanted
from schemas.following import Place, Sight
from schemas.output import Output
from schemas.times import utc_now

_T = TypeVar("_T")


class View:
    """Reads and writes of the view, none of which blocks the event loop.

    One thread writes; others read, each on a connection of its own and in one transaction a question, so that a batch is seen
    whole or not at all. Open before use, close when done. Every method may raise :class:`gateway.errors.ViewUnavailable`.
    """

    def __init__(self, path: Path, *, readers: int = 4, clock: Callable[[], datetime] = utc_now) -> None:
        self._path = path
        self._clock = clock
        self._readers = readers
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="view-writer")
        self._reading = ThreadPoolExecutor(readers, thread_name_prefix="view-reader")
        self._writer: sqlite3.Connection | None = None
        # As many as there are threads that read, so that no thread ever waits for one.
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()

    async def open(self) -> None:
        """Open the file, or make it."""
        await self._in(self._writing, self._open)

    async def close(self) -> None:
        """Finish what was begun and close the file. Safe to repeat."""
        await asyncio.to_thread(self._close)

    async def find(self, execution_id: str) -> Execution | None:
        """One execution, or ``None`` where the view does not know it (yet)."""
        return await self._read(partial(view_queries.find, execution_id=execution_id))

    async def record(self, execution_id: str) -> tuple[Execution, Output] | None:
        """One execution with its output, which before its end is empty; ``None`` where the view does not know it (yet)."""
        return await self._read(partial(view_queries.record, execution_id=execution_id))

    async def remembered(self, execution_id: str) -> Remembered | None:
        """What is known of an execution by its id, for three days also after its record was removed."""
        return await self._read(partial(view_queries.remembered, execution_id=execution_id))

    async def find_all(self, execution_ids: Iterable[str]) -> list[Execution]:
        """Those of these executions that the view knows. At most some hundreds at once."""
        return await self._read(partial(view_queries.find_all, execution_ids=list(execution_ids)))

    async def output(self, execution_id: str, attempt: int | None = None) -> Output:
        """What is known of an execution's output, or of that of an earlier attempt; empty where nothing is."""
        return await self._read(partial(view_queries.output, execution_id=execution_id, attempt=attempt))

    async def is_output_complete(self, execution_id: str) -> bool:
        """Whether the execution has ended and all of its output that was kept is here."""
        return await self._read(partial(view_queries.is_output_complete, execution_id=execution_id))

    async def has_ended(self, execution_id: str) -> bool | None:
        """``None`` where it has not ended, as far as is known; else whether all of its output that was kept is here."""
        return await self._read(partial(view_queries.has_ended, execution_id=execution_id))

    async def sight(self, execution_id: str, place: Place) -> Sight | None:
        """What is to be seen of an execution from a place on; ``None`` where it is not known (any more)."""
        return await self._read(partial(view_following.sight, execution_id=execution_id, place=place))

    async def page(self, limit: int, wanted: Wanted = EVERYTHING, before: int | None = None) -> Page:
        """The newest executions that are wanted, from the beginning or from where the page before this one said."""
        return await self._read(partial(view_queries.page, limit=limit, wanted=wanted, before=before))

    async def running(self) -> list[Execution]:
        """The executions that run now, the oldest first."""
        return await self._read(view_queries.running)

    async def to_retry(self, limit: int) -> list[ToRetry]:
        """The executions whose next attempt was not queued yet, the one that is due first in front."""
        return await self._read(partial(view_queries.to_retry, limit=limit))

    async def queued_pools(self) -> list[str]:
        """The pools in which executions wait."""
        return await self._read(view_queries.queued_pools)

    async def queued_before(
        self, pool: str | None, before: datetime, *, after: tuple[str, int] = ("", 0), limit: int
    ) -> list[Queued]:
        """What waits in a pool (``None``: nobody knows in which) and came into this view before a time, the oldest first.

        ``after`` is the place of the last one of the page before. Times are those of the view's own clock.
        """
        query = partial(view_queries.queued_before, pool=pool, before=before, after=after, limit=limit)
        return await self._read(query)

    async def held(self) -> Held:
        """How many records there are."""
        return await self._read(view_queries.held)

    async def statistics(self) -> Statistics:
        """Cumulative counts."""
        return await self._read(view_queries.statistics)

    async def position(self, stream: StreamName) -> Position | None:
        """The last record of a stream that was applied; ``None`` before the first."""
        return await self._read(partial(view_writer.position_of, stream=stream))

    async def transitions_after(self, position: int | None, limit: int) -> list[StoredTransition]:
        """The first ``limit`` transitions after a place in the log (``None``: from the first one)."""
        return await self._read(partial(view_queries.transitions_after, position=position, limit=limit))

    async def apply_log(self, batch: Batch, *, keep_finished: int) -> AppliedLog:
        """Fold a batch of the log into the view, in one transaction, and keep that many finished executions.

        Records that were applied before change nothing. A cancelled call is carried out all the same, or not at all.
        """
        apply = partial(view_writer.apply_log, batch=batch, keep_finished=keep_finished, now=self._clock())
        return await self._write(apply)

    async def apply_output(self, batch: Batch) -> AppliedOutput:
        """Store a batch of output, in one transaction. Records that were applied before change nothing."""
        return await self._write(partial(view_writer.apply_output, batch=batch))

    async def begin_anew(self, stream: StreamName) -> None:
        """The stream is another one from now on, whose places begin anew. What the view holds stays."""
        await self._write(partial(view_writer.begin_anew, stream=stream))

    async def trim_transitions(self, before: int) -> None:
        """Forget the transitions of records before this place in the log."""
        await self._write(partial(view_writer.trim_transitions, before=before))

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = open_writer(self._path)
        view_retention.forget_by_age(self._writer, self._clock())
        for _ in range(self._readers):
            self._idle.put(open_reader(self._path))

    def _close(self) -> None:
        self._reading.shutdown()
        self._writing.shutdown()
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                break
        # Last, so that SQLite can fold its side files into the main one.
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def _read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        def ask() -> _T:
            try:
                connection = self._idle.get_nowait()
            except queue.Empty as error:
                raise ViewUnavailable("the view is not open") from error
            try:
                connection.execute("BEGIN")
                try:
                    return query(connection)
                finally:
                    connection.execute("COMMIT")
            finally:
                self._idle.put(connection)

        return await self._in(self._reading, ask)

    async def _write(self, change: Callable[[sqlite3.Connection], _T]) -> _T:
        def make() -> _T:
            if self._writer is None:
                raise ViewUnavailable("the view is not open")
            return change(self._writer)

        return await self._in(self._writing, make)

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        try:
            future = asyncio.get_running_loop().run_in_executor(threads, work)
        except RuntimeError as error:
            raise ViewUnavailable("the view was closed") from error
        try:
            return await future
        # Other errors of SQLite are mistakes of ours, or a damaged file: trying again would hide them.
        except (sqlite3.OperationalError, OSError) as error:
            raise ViewUnavailable(f"the view can't be read or written: {error}") from error
