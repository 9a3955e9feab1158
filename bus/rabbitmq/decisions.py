"""Decisions on RabbitMQ: the order of the control stream, which every process reads back for itself."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from bus import topology
from bus.backoff import Backoff
from bus.errors import BusClosed, BusUnavailable, StreamGap, Unroutable
from bus.messages import Decision, End, Proposal
from bus.rabbitmq import control
from bus.rabbitmq.claims import Claims
from bus.rabbitmq.connection import Link
from bus.rabbitmq.envelope import to_amqp
from bus.rabbitmq.publisher import Publisher
from bus.rabbitmq.stream_reader import Read, StreamReader

log = structlog.get_logger()

T = TypeVar("T")
#: Rows after a sequence number, at most so many, each with its own.
_After = Callable[[int, int], list[tuple[int, T]]]

#: Seconds for a proposal to be confirmed.
PROPOSE_LIMIT_SECONDS = 5.0
#: Seconds without any record after which reading begins anew.
READ_BACK_SECONDS = 10.0
#: Seconds after which deciding is given up.
DECIDE_LIMIT_SECONDS = 60.0
#: Records that are pushed ahead.
_PREFETCH = 1_000
#: Decisions that a watcher is given at a time.
_WATCH_BATCH = 500


class RabbitDecisions:
    """Keeps the promises of :class:`bus.ports.Decisions`."""

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
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._watching: set[asyncio.Event] = set()
        self._malformed = 0
        #: How often the control stream did not go on where it was left.
        self._gaps = 0
        self._closed = False
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong; ``None`` where nothing is."""
        return self._problem

    @property
    def malformed(self) -> int:
        """How many records could not be understood since the start."""
        return self._malformed

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
            self._sequence = await self._in_thread(self._known.last_sequence)
            self._follower = asyncio.create_task(self._follow(), name="control stream")
            self._follower.add_done_callback(self._followed)

    async def close(self) -> None:
        """Stop reading; whoever waits for a decision gets BusClosed. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait({self._follower})
        for event in (*self._watching, *(event for events in self._waiting.values() for event in events)):
            event.set()
        if self._claims is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._claims.close)
        self._thread.shutdown(wait=False)

    async def decide(self, proposal: Proposal) -> Decision:
        """Propose, and wait until the order shows what came first."""
        deadline = time.monotonic() + DECIDE_LIMIT_SECONDS
        backoff = Backoff()
        with self._news_of(proposal.execution_id) as news:
            while True:
                news.clear()
                decision = await self._in_thread(lambda: self._known.answer(proposal))
                if decision is not None:
                    return decision
                try:
                    await self._propose(proposal)
                except BusUnavailable as error:
                    if time.monotonic() >= deadline:
                        raise BusUnavailable(f"no decision: {error}", outcome_unknown=True) from error
                    log.info("proposing again", action="propose_again", execution_id=proposal.execution_id, error=str(error))
                    await backoff.pause()
                    continue
                try:
                    async with asyncio.timeout(max(0.0, min(READ_BACK_SECONDS, deadline - time.monotonic()))):
                        await news.wait()
                except TimeoutError as error:
                    self._look_again()
                    if time.monotonic() >= deadline:
                        raise BusUnavailable("the decision was not read back in time", outcome_unknown=True) from error

    async def decision_for(self, execution_id: str, attempt: int) -> Decision | None:
        """The decision as far as it was read."""
        return await self._in_thread(lambda: self._known.find(execution_id, attempt))

    def watch(self) -> AsyncIterator[Decision]:
        """Every decision from now on. After a gap in the stream, those it still holds come again."""
        return self._rows(lambda claims: claims.after, self._sequence)

    async def end_of(self, execution_id: str) -> End | None:
        """The first end as far as it was read."""
        return await self._in_thread(lambda: self._known.end_of(execution_id))

    def ends(self) -> AsyncIterator[End]:
        """Every end that is known, then those that are read."""
        return self._rows(lambda claims: claims.ends_after, 0)

    async def gaps(self) -> AsyncGenerator[None, None]:
        """Each gap in the control stream, from now on."""
        seen, news = self._gaps, asyncio.Event()
        self._watching.add(news)
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
            self._watching.discard(news)

    async def _rows(self, of: Callable[[Claims], _After[T]], sequence: int) -> AsyncGenerator[T, None]:
        news = asyncio.Event()
        self._watching.add(news)
        try:
            while True:
                news.clear()
                batch = await self._in_thread(partial(of(self._known), sequence, _WATCH_BATCH))
                for _, row in batch:
                    yield row
                if batch:
                    sequence = batch[-1][0]
                else:
                    await news.wait()
        finally:
            self._watching.discard(news)

    async def _propose(self, proposal: Proposal) -> None:
        exchange, key = control.route_of(proposal)
        try:
            await self._publisher.publish(
                exchange, key, to_amqp(control.to_message(proposal)), limit_seconds=PROPOSE_LIMIT_SECONDS
            )
        except Unroutable as error:
            raise BusUnavailable(f"the control stream is missing: {error}") from error

    def _look_again(self) -> None:
        # Not while records come: a reader far behind has only more to read.
        if self._reader is not None and time.monotonic() - self._read_at >= READ_BACK_SECONDS:
            log.warning("a proposal was not read back", action="control_reopened")
            self._reader.reopen()

    async def _follow(self) -> None:
        backoff = Backoff()
        while True:
            try:
                after = await self._in_thread(self._known.position)
                self._reader = StreamReader(self._consuming, topology.CONTROL, after, prefetch=_PREFETCH)
                async with aclosing(self._reader.batches()) as batches:
                    async for batch in batches:
                        await self._apply(batch)
                        self._problem = None
                        backoff.reset()
            except StreamGap as error:
                log.warning("reading all decisions anew", action="claims_rebuilt", why=str(error))
                await self._in_thread(self._known.clear)
                self._gaps += 1
                for event in self._watching:
                    event.set()
            except sqlite3.Error as error:
                self._problem = f"decisions can't be kept: {error}"
                log.error("decisions can't be kept", action="claims_failed", error=str(error))
                await backoff.pause()

    async def _apply(self, batch: list[Read]) -> None:
        proposals = [proposal for read in batch if (proposal := self._parse(read)) is not None]
        self._sequence = await self._in_thread(lambda: self._known.apply(proposals, batch[-1].position))
        self._read_at = time.monotonic()
        # Proposals that decided nothing wake too: who made them has an answer now.
        for proposal in proposals:
            for event in self._waiting.get(proposal.execution_id, ()):
                event.set()
        for event in self._watching:
            event.set()

    def _parse(self, read: Read) -> Proposal | None:
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
    def _news_of(self, execution_id: str) -> Iterator[asyncio.Event]:
        news = asyncio.Event()
        self._waiting.setdefault(execution_id, set()).add(news)
        try:
            yield news
        finally:
            events = self._waiting[execution_id]
            events.discard(news)
            if not events:
                del self._waiting[execution_id]

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
