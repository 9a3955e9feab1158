"""The tail of the control stream: what is read back of it, kept, and waited for."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from bus import topology
from bus.backoff import Backoff
from bus.errors import BusClosed, BusUnavailable, StreamGap, Unroutable
from bus.messages import Hello
from bus.rabbitmq import control
from bus.rabbitmq.claims import Claims
from bus.rabbitmq.connection import Link
from bus.rabbitmq.control import ControlRecord, Mark
from bus.rabbitmq.envelope import to_amqp
from bus.rabbitmq.expectation import Expectation, Seen, nothing
from bus.rabbitmq.publisher import Publisher
from bus.rabbitmq.stream_reader import Read, StreamReader, start_of
from schemas.failpoints import failpoint

log = structlog.get_logger()

T = TypeVar("T")
#: Rows after a number, at most so many, each with its own.
After = Callable[[int, int], list[tuple[int, T]]]

#: Seconds for a record to be confirmed.
TELL_LIMIT_SECONDS = 5.0
#: Seconds without any record after which reading begins anew.
READ_BACK_SECONDS = 10.0
#: Seconds after which waiting for a record is given up.
WAIT_LIMIT_SECONDS = 60.0
#: Records that are pushed ahead.
_PREFETCH = 1_000
#: Rows that a watcher is given at a time.
_WATCH_BATCH = 500


class ControlTail:
    """Reads the control stream from where it was left, and writes to it. Who tells something can wait until it was read."""

    def __init__(self, consuming: Link, publisher: Publisher, path: Path) -> None:
        """``path`` is where what was read is kept; it may be lost at any time."""
        self._consuming = consuming
        self._publisher = publisher
        self._path = path
        #: SQLite waits for the disk now and then; the event loop must not.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="claims")
        self._claims: Claims | None = None
        self._follower: asyncio.Task[None] | None = None
        self._reader: StreamReader | None = None
        self._read_at = time.monotonic()
        self._sequence = 0
        self._waiting: dict[str, set[Expectation[Any]]] = {}
        #: Those who watch for rows → the records that make such, and those who watch for gaps → none.
        self._watching: dict[asyncio.Event, tuple[type[ControlRecord], ...]] = {}
        self._malformed = 0
        #: How often the stream did not go on where it was left.
        self._gaps = 0
        self._missed = 0
        self._closed = False
        self._problem: str | None = None
        #: What this process said, and whether that was read; another's for the same epoch after it sets the event.
        self._hello: Hello | None = None
        self._hello_was_read = False
        self._displaced = asyncio.Event()

    @property
    def problem(self) -> str | None:
        """What is wrong; ``None`` where nothing is."""
        return self._problem

    @property
    def malformed(self) -> int:
        """How many records could not be understood since the start."""
        return self._malformed

    @property
    def missed(self) -> int:
        """How often records, a fence perhaps among them, were removed before they were read."""
        return self._missed

    @property
    def sequence(self) -> int:
        """Number of the newest decision that was read."""
        return self._sequence

    async def open(self) -> None:
        """Begin to read the control stream, from where it was left. Safe to repeat.

        Raises:
            BusUnavailable: the file can't be used now.
        """
        if self._follower is None and not self._closed:
            try:
                self._claims = await self._in_thread(lambda: Claims(self._path))
            except sqlite3.Error as error:
                raise BusUnavailable(f"decisions can't be kept in {self._path}: {error}") from error
            self._sequence = await self.ask(lambda claims: claims.last_sequence())
            self._follower = asyncio.create_task(self._follow(), name="control stream")
            self._follower.add_done_callback(self._followed)

    async def close(self) -> None:
        """Stop reading; whoever waits gets BusClosed. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait({self._follower})
        self._displaced.set()
        for event in (*self._watching, *(each.news for expected in self._waiting.values() for each in expected)):
            event.set()
        if self._claims is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._claims.close)
        self._thread.shutdown(wait=False)

    async def ask(self, question: Callable[[Claims], T]) -> T:
        """What was read so far has to say to this."""
        return await self._in_thread(lambda: question(self._known))

    async def tell(self, record: ControlRecord, answer: Callable[[Claims], T | None], *, is_new: bool = False) -> T:
        """Write a record unless there is an answer already, and wait until there is one.

        Where the record ``is_new`` there is hardly an answer yet, and nobody looks for one before it is written.

        Raises:
            BusUnavailable: there was none in time; with ``outcome_unknown``, as it may have been written.
        """
        deadline = time.monotonic() + WAIT_LIMIT_SECONDS
        backoff = Backoff()
        with self._expected(record, answer) as expected:
            while True:
                expected.news.clear()
                if not is_new:
                    expected.hear(*await self._in_thread(lambda: expected.look(self._known)))
                if (found := expected.found()) is not None:
                    return found
                is_new = False
                if await self._written(record, backoff, deadline):
                    await self._heard(expected.news, deadline)
                    # Looked for in the same go in which the record was kept.
                    if (found := expected.found()) is not None:
                        return found

    async def tell_and_read(self, record: ControlRecord) -> None:
        """Write a record, and wait until it was read, and so all that stood before it.

        Raises:
            BusUnavailable: it was not in time; with ``outcome_unknown``, as it may have been written.
        """
        deadline = time.monotonic() + WAIT_LIMIT_SECONDS
        backoff = Backoff()
        with self._expected(record, nothing) as expected:
            while not expected.news.is_set():
                if await self._written(record, backoff, deadline):
                    await self._heard(expected.news, deadline)
        if self._closed:
            raise BusClosed("the bus is closed")

    async def say_hello(self, hello: Hello) -> None:
        """Write it and wait until it was read; from there on, another process's for the same epoch displaces this one."""
        self._hello, self._hello_was_read = hello, False
        await self.tell_and_read(hello)

    async def displaced(self) -> None:
        """Wait until another process has said hello for the epoch of this one, after it."""
        await self._displaced.wait()
        if self._closed:
            raise BusClosed("the bus is closed")

    async def forget(self) -> None:
        """Forget the claims that the stream has let go of: whoever begins to read it now knows nothing of them either.

        Raises:
            BusUnavailable: not now.
        """
        first = await start_of(self._consuming, topology.CONTROL)
        if first is None:
            return
        try:
            while await self.ask(lambda claims: claims.forget(first)):
                pass
        except sqlite3.Error as error:
            raise BusUnavailable(f"the file {self._path} can't be written: {error}") from error

    async def gaps(self) -> AsyncGenerator[None, None]:
        """Each gap in the stream, from now on."""
        seen, news = self._gaps, asyncio.Event()
        self._watching[news] = ()
        try:
            while True:
                news.clear()
                if self._closed:
                    raise BusClosed("the bus is closed")
                if self._gaps == seen:
                    await news.wait()
                else:
                    seen = self._gaps
                    yield
        finally:
            del self._watching[news]

    async def rows(
        self, of: Callable[[Claims], After[T]], number: int, *, made_by: tuple[type[ControlRecord], ...]
    ) -> AsyncGenerator[T, None]:
        """Rows after a number, then new ones as they are read; ``made_by`` are the kinds of records that make such rows."""
        news = asyncio.Event()
        self._watching[news] = made_by
        try:
            while True:
                news.clear()
                batch = await self._in_thread(partial(of(self._known), number, _WATCH_BATCH))
                for _, row in batch:
                    yield row
                if batch:
                    number = batch[-1][0]
                else:
                    await news.wait()
        finally:
            del self._watching[news]

    async def _written(self, record: ControlRecord, backoff: Backoff, deadline: float) -> bool:
        exchange, key = control.route_of(record)
        try:
            try:
                await self._publisher.publish(
                    exchange, key, to_amqp(control.to_message(record)), limit_seconds=TELL_LIMIT_SECONDS
                )
                failpoint("rabbitmq.proposed")
            except Unroutable as error:
                raise BusUnavailable(f"the control stream is missing: {error}") from error
        except BusUnavailable as error:
            if time.monotonic() >= deadline:
                raise BusUnavailable(f"no decision: {error}", outcome_unknown=True) from error
            log.info("proposing again", action="propose_again", what=control.name_of(record), error=str(error))
            await backoff.pause()
            return False
        return True

    async def _heard(self, news: asyncio.Event, deadline: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, min(READ_BACK_SECONDS, deadline - time.monotonic()))):
                await news.wait()
        except TimeoutError as error:
            self._look_again()
            if time.monotonic() >= deadline:
                raise BusUnavailable("the decision was not read back in time", outcome_unknown=True) from error

    def _look_again(self) -> None:
        # Not while records come: a reader far behind has only more to read.
        if self._reader is not None and time.monotonic() - self._read_at >= READ_BACK_SECONDS:
            log.warning("a proposal was not read back", action="control_reopened")
            self._reader.reopen()

    async def _follow(self) -> None:
        backoff = Backoff()
        while True:
            try:
                after = await self.ask(lambda claims: claims.position())
                self._reader = StreamReader(self._consuming, topology.CONTROL, after, prefetch=_PREFETCH)
                async with aclosing(self._reader.batches()) as batches:
                    async for batch in batches:
                        await self._apply(batch)
                        self._problem = None
                        backoff.reset()
            except StreamGap as error:
                log.warning("reading all decisions anew", action="claims_rebuilt", why=str(error))
                # What stands before our own hello comes again too.
                self._hello_was_read = False
                self._missed += not error.replaced
                await self.ask(lambda claims: claims.clear())
                self._gaps += 1
                for event in self._watching:
                    event.set()
            except sqlite3.Error as error:
                self._problem = f"decisions can't be kept: {error}"
                log.error("decisions can't be kept", action="claims_failed", error=str(error))
                await backoff.pause()

    async def _apply(self, batch: list[Read]) -> None:
        records = [record for read in batch if (record := self._parse(read)) is not None]
        kept = [record for record in records if not isinstance(record, Mark)]
        # Proposals that decided nothing count too: who made them has an answer now.
        names = {control.name_of(record) for record in records}
        waiting = [expected for name in names for expected in self._waiting.get(name, ())]

        def keep_and_look(claims: Claims) -> tuple[int, list[Seen[Any]]]:
            sequence = claims.apply(kept, batch[-1].position)
            return sequence, [expected.look(claims) for expected in waiting]

        self._sequence, seen = await self.ask(keep_and_look)
        failpoint("rabbitmq.decisions_kept")
        self._read_at = time.monotonic()
        for record in records:
            if isinstance(record, Hello):
                self._hear_hello(record)
        for expected, (found, error) in zip(waiting, seen, strict=True):
            expected.hear(found, error)
            expected.news.set()
        for event, made_by in self._watching.items():
            if any(isinstance(record, made_by) for record in records):
                event.set()

    def _hear_hello(self, hello: Hello) -> None:
        if self._hello is None or hello.epoch != self._hello.epoch:
            return
        if hello.process == self._hello.process:
            self._hello_was_read = True
        elif self._hello_was_read:
            self._displaced.set()

    def _parse(self, read: Read) -> ControlRecord | None:
        try:
            return control.parse(read.delivered)
        except control.MalformedRecord as error:
            self._malformed += 1
            log.warning(
                "skipped a malformed record of the control stream",
                action="control_malformed",
                offset=read.position.offset,
                message_id=read.position.message_id,
                why=str(error),
                so_far=self._malformed,
            )
            return None

    @contextmanager
    def _expected(self, record: ControlRecord, answer: Callable[[Claims], T | None]) -> Iterator[Expectation[T]]:
        name = control.name_of(record)
        expected = Expectation(answer)
        self._waiting.setdefault(name, set()).add(expected)
        try:
            yield expected
        finally:
            all_expected = self._waiting[name]
            all_expected.discard(expected)
            if not all_expected:
                del self._waiting[name]

    @property
    def _known(self) -> Claims:
        if self._claims is None:
            raise BusUnavailable("the bus is not open yet")
        return self._claims

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise BusClosed("the bus is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _followed(self, follower: asyncio.Task[None]) -> None:
        if not follower.cancelled() and (error := follower.exception()) is not None:
            if isinstance(error, BusClosed):
                return
            self._problem = f"decisions are no longer read: {error!r}"
            log.critical("the reader of the control stream died", action="control_reader_died", exc_info=error)
