"""Reading a stream from a place on, over any number of connections."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiormq.abc import DeliveredMessage

from bus.backoff import Backoff
from bus.errors import BusUnavailable
from bus.messages import Position
from bus.rabbitmq.calls import CALL_LIMIT_SECONDS
from bus.rabbitmq.connection import Link, close_quietly
from bus.rabbitmq.consumer import Consumer, ack
from bus.rabbitmq.envelope import offset_of

log = structlog.get_logger()

#: Seconds in which the record at a known place must come: it is there, unless the stream was replaced or cut.
FIRST_RECORD_SECONDS = 10.0


class StreamGap(Exception):
    """The stream does not go on where it was left: it was replaced, or records were removed."""


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

    def __init__(
        self, link: Link, stream: str, after: Position | None, *, prefetch: int, gap_is_error: bool, start: str = "first"
    ) -> None:
        """``gap_is_error``: whether a gap raises :class:`StreamGap`; otherwise it is logged, and reading goes on.

        ``start`` is where reading begins without a position: the first record there is, or how long ago (``40s``).
        """
        self._start = start
        self._link = link
        self._stream = stream
        self._last = after
        self._prefetch = prefetch
        self._gap_is_error = gap_is_error
        self._session: _Session | None = None

    def reopen(self) -> None:
        """Begin anew at the last record given out, for when nothing comes though something should."""
        if self._session is not None:
            self._session.lose()

    async def batches(self) -> AsyncGenerator[list[Read], None]:
        """Records as they come; never an empty batch.

        Raises:
            StreamGap: see the constructor.
            BusClosed: the bus was closed.
        """
        backoff = Backoff()
        while True:
            try:
                async with self._opened() as session:
                    if self._last is not None and (rest := await self._resumed(session, self._last)):
                        self._last = rest[-1].position
                        yield rest
                    while batch := await session.batch():
                        backoff.reset()
                        self._last = batch[-1].position
                        yield batch
            except BusUnavailable as error:
                log.info("can't read a stream", action="stream_read_failed", stream=self._stream, error=str(error))
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
        except TimeoutError:
            self._tell_gap(last, None)
            return []
        if not batch:
            return []  # lost again
        if batch[0].position != last:
            self._tell_gap(last, batch[0].position)
            return batch
        return batch[1:]

    def _tell_gap(self, expected: Position, seen: Position | None) -> None:
        if self._gap_is_error:
            raise StreamGap(f"{self._stream} does not go on at {expected}: {seen}")
        log.warning("a stream has a gap", action="stream_gap", stream=self._stream, expected=expected, seen=seen)

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator["_Session", None]:
        channel = await self._link.channel()
        try:
            session = self._session = _Session(None if self._last is None else self._last.offset)
            await Consumer.start(
                channel,
                self._stream,
                prefetch=self._prefetch,
                on_message=session.add,
                on_lost=session.lose,
                arguments={"x-stream-offset": self._start if self._last is None else self._last.offset},
            )
            yield session
        finally:
            self._session = None
            await close_quietly(channel)


class _Session:
    """What one consumer has received and nobody has asked for yet; the prefetch bounds it."""

    def __init__(self, first: int | None) -> None:
        #: Place of the next record, should one not say its own.
        self._next = first or 0
        self._first = first or 0
        self._received: list[Read] = []
        self._changed = asyncio.Event()
        self._lost = False

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
        """All that is there, as soon as something is; empty once the consumer is lost."""
        while not self._received and not self._lost:
            self._changed.clear()
            await self._changed.wait()
        batch, self._received = self._received, []
        if batch and not self._lost:
            try:
                await ack(batch[-1].delivered, multiple=True)
            except BusUnavailable:
                self._lost = True  # the records are good, only no more will come
        return batch
