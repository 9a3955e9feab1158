"""Reading a stream from a place on, over any number of connections."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelPreconditionFailed
from aiormq.abc import DeliveredMessage

from bus.backoff import Backoff
from bus.errors import BusUnavailable, StreamGap
from bus.messages import Position
from bus.rabbitmq.calls import CALL_LIMIT_SECONDS, bounded
from bus.rabbitmq.connection import Link, close_quietly
from bus.rabbitmq.consumer import Consumer, ack
from bus.rabbitmq.envelope import offset_of

log = structlog.get_logger()

#: Seconds without a record after which reading begins anew where it was. Only that tells whether nothing was written, or
#: nothing is passed on, as by a node whose copy of the stream began anew.
IDLE_SECONDS = 30.0
#: Refusals in a row after which another node is tried.
MOST_REFUSALS = 3
#: Seconds in which the record at a known place must come: it is there, unless the stream was replaced or cut.
FIRST_RECORD_SECONDS = 10.0
#: Records that are pushed ahead where the last one is looked for: more than the broker stores together.
_END_PREFETCH = 5_000
#: Seconds without a record after which the last one has come, and how long that is waited for.
_QUIET_SECONDS = 0.5
_END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Read:
    """One record with its place."""

    position: Position
    delivered: DeliveredMessage


class StreamReader:
    """Reads one stream in order, without a gap or a repeat.

    It resumes AT the last record it gave out and compares the message id, because a stream that is asked for a place that is
    gone starts later without a word, and one asked beyond its end stays silent for ever.
    """

    def __init__(self, link: Link, stream: str, after: Position | None, *, prefetch: int, start: str = "first") -> None:
        """``start`` is where reading begins without a position: the first record there is, or how long ago (``40s``)."""
        self._start = start
        self._link = link
        self._stream = stream
        self._last = after
        self._prefetch = prefetch
        self._session: _Session | None = None
        self._refusals = 0

    def reopen(self) -> None:
        """Begin anew at the last record given out, for when nothing comes though something should."""
        if self._session is not None:
            self._session.lose()

    async def batches(self) -> AsyncGenerator[list[Read], None]:
        """Records as they come; never an empty batch.

        Raises:
            StreamGap: it does not go on after the last record given out; whoever goes on all the same makes a new reader.
            BusClosed: the bus was closed.
        """
        backoff = Backoff()
        while True:
            idle = False
            try:
                async with self._opened() as session:
                    if self._last is not None and (rest := await self._resumed(session, self._last)):
                        self._last = rest[-1].position
                        yield rest
                    while batch := await session.batch():
                        backoff.reset()
                        self._last = batch[-1].position
                        yield batch
                    idle = session.idle
            except BusUnavailable as error:
                log.info("can't read a stream", action="stream_read_failed", stream=self._stream, error=str(error))
                self._count_refusal(error)
            if not idle:
                await backoff.pause()

    async def reread(self) -> Read | None:
        """The record that reading would go on after; ``None`` where it is gone.

        Raises:
            BusUnavailable: the stream can't be read now.
            BusClosed: the bus was closed.
        """
        async with self._opened() as session:
            try:
                async with asyncio.timeout(CALL_LIMIT_SECONDS):
                    batch = await session.batch()
            except TimeoutError:
                return None
        if not batch:
            raise BusUnavailable("the connection was lost while a record was read")
        return batch[0] if batch[0].position == self._last else None

    async def _resumed(self, session: "_Session", last: Position) -> list[Read]:
        """What came together with the last record, which itself is dropped."""
        try:
            async with asyncio.timeout(FIRST_RECORD_SECONDS):
                batch = await session.batch()
        except TimeoutError as error:
            # It ends before that place; or the broker is slow, and then nothing must be thrown away.
            end = await end_of(self._link, self._stream)
            if end is None or end < last.offset:
                raise StreamGap(self._stream, last, None) from error
            raise BusUnavailable(f"{self._stream} gives no records") from error
        if not batch:
            return []  # lost again
        first = batch[0].position
        # Where the last record is the one that was removed, all after it is there.
        if first != last and first.offset != last.offset + 1:
            raise StreamGap(self._stream, last, first)
        return batch[1:] if first == last else batch

    def _count_refusal(self, error: BusUnavailable) -> None:
        """A node of a cluster lets nobody read a stream that it has no copy of, or none that runs: another one has."""
        self._refusals = self._refusals + 1 if isinstance(error.__cause__, ChannelPreconditionFailed) else 0
        if self._refusals >= MOST_REFUSALS:
            self._refusals = 0
            self._link.move(str(error))

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator["_Session", None]:
        first, start = (0, self._start) if self._last is None else (self._last.offset, self._last.offset)
        async with _opened(self._link, self._stream, first=first, start=start, prefetch=self._prefetch) as (session, _):
            self._session = session
            try:
                yield session
            finally:
                self._session = None


@asynccontextmanager
async def _opened(
    link: Link, stream: str, *, first: int, start: int | str, prefetch: int
) -> AsyncGenerator[tuple["_Session", AbstractChannel], None]:
    """A consumer on a channel of its own. Records before ``first`` are left out."""
    channel = await link.channel()
    try:
        session = _Session(first)
        await Consumer.start(
            channel,
            stream,
            prefetch=prefetch,
            on_message=session.add,
            on_lost=session.lose,
            arguments={"x-stream-offset": start},
        )
        yield session, channel
    finally:
        await close_quietly(channel)


async def start_of(link: Link, stream: str) -> int | None:
    """Place of the first record that a stream still has; ``None`` where it has none.

    Raises:
        BusUnavailable: nobody says so now.
    """
    async with _opened(link, stream, first=0, start="first", prefetch=1) as (session, _):
        try:
            async with asyncio.timeout(FIRST_RECORD_SECONDS):
                if not (batch := await session.batch()):
                    raise BusUnavailable(f"the connection was lost while the start of {stream} was looked for")
        except TimeoutError:
            return None
        return batch[0].position.offset


async def end_of(link: Link, stream: str) -> int | None:
    """Place of the last record of a stream; ``None`` where it has none.

    Raises:
        BusUnavailable: nobody says so now.
    """
    async with _opened(link, stream, first=0, start="last", prefetch=_END_PREFETCH) as (session, channel):
        try:
            async with asyncio.timeout(FIRST_RECORD_SECONDS):
                if not (batch := await session.batch()):
                    raise BusUnavailable(f"the connection was lost while the end of {stream} was looked for")
            # They were stored together and need not come together.
            return await _last_of(session, batch[-1].position.offset)
        except TimeoutError as error:
            queue = await bounded(channel.declare_queue(stream, passive=True), CALL_LIMIT_SECONDS, f"counting {stream}")
            if queue.declaration_result.message_count:
                raise BusUnavailable(f"{stream} gives no records") from error
            return None


async def _last_of(session: "_Session", offset: int) -> int:
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            while True:
                async with asyncio.timeout(_QUIET_SECONDS):
                    if not (batch := await session.batch()):
                        break
                offset = batch[-1].position.offset
    return offset


class _Session:
    """What one consumer has received and nobody has asked for yet; the prefetch bounds it."""

    def __init__(self, first: int) -> None:
        #: Place of the next record, should one not say its own.
        self._next = first
        self._first = first
        self._received: list[Read] = []
        self._changed = asyncio.Event()
        self._lost = False
        #: Whether it was lost because nothing came for long.
        self.idle = False

    def add(self, delivered: DeliveredMessage) -> None:
        offset = offset_of(delivered)
        if offset is None:
            offset = self._next  # unreadable headers; places have no holes
        self._next = offset + 1
        # The broker stores records in chunks, and may begin with the chunk that holds the place it was asked for.
        if offset >= self._first:
            self._received.append(Read(Position(offset, delivered.header.properties.message_id or None), delivered))
            self._changed.set()

    def lose(self) -> None:
        self._lost = True
        self._changed.set()

    async def batch(self) -> list[Read]:
        """All that is there, as soon as something is; empty once the consumer is lost, or nothing came for long."""
        while not self._received and not self._lost:
            self._changed.clear()
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                self.idle = self._lost = True
        batch, self._received = self._received, []
        if batch and not self._lost:
            try:
                await ack(batch[-1].delivered, multiple=True)
            except BusUnavailable:
                self._lost = True  # the records are good, only no more will come
        return batch
