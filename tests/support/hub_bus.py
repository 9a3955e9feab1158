"""Streams and announcements in memory, as far as the read side of the hub uses them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from bus.errors import BusUnavailable, StreamGap
from bus.messages import Announcement, Batch, Message, Position, Record, StreamName
from tests.support.records import numbered


class FakeStreams:
    """Streams that a test writes; batches hold what is there."""

    def __init__(self, *, batch_size: int = 1000) -> None:
        self.batch_size = batch_size
        #: Where each reader began.
        self.reads: list[tuple[StreamName, Position | None]] = []
        #: Errors that the next reads of the log raise, one each.
        self.failures: list[Exception] = []
        self.open_reads = 0
        self._records: dict[StreamName, list[Record]] = {stream: [] for stream in StreamName}
        self._news = asyncio.Event()

    def write(self, stream: StreamName, *records: Record) -> None:
        """Append records, at the next offsets."""
        mine = self._records[stream]
        mine += numbered(*records, start=mine[-1].position.offset + 1 if mine else 0)
        news, self._news = self._news, asyncio.Event()
        news.set()

    def replace(self, stream: StreamName, *records: Record) -> None:
        """Another stream in its place."""
        self._records[stream] = []
        self.write(stream, *records)

    def trim(self, stream: StreamName, before: int) -> None:
        """Remove what is older."""
        self._records[stream] = [record for record in self._records[stream] if record.position.offset >= before]

    async def end(self, stream: StreamName) -> int | None:
        """Place of the last record."""
        return self._records[stream][-1].position.offset if self._records[stream] else None

    async def append(self, stream: StreamName, key: str, message: Message) -> None:
        """Not used by the read side."""
        raise NotImplementedError

    async def read(self, stream: StreamName, after: Position | None) -> AsyncIterator[Batch]:
        """Batches after a position, without end."""
        self.reads.append((stream, after))
        self.open_reads += 1
        try:
            offset = 0 if after is None else after.offset + 1
            if after is not None:
                seen = next((r.position for r in self._records[stream] if r.position.offset >= after.offset), None)
                if seen is None or (seen != after and seen.offset != offset):
                    raise StreamGap(stream.value, after, seen)
            while True:
                if stream is StreamName.LOG and self.failures:
                    raise self.failures.pop(0)
                news = self._news
                batch = [record for record in self._records[stream] if record.position.offset >= offset][: self.batch_size]
                if batch:
                    offset = batch[-1].position.offset + 1
                    yield batch
                else:
                    await news.wait()
        finally:
            self.open_reads -= 1


@dataclass
class FakeHolder:
    """A holder that writes down what it was told, until it loses the lock."""

    bus: "FakeAnnouncements"
    #: Calls after which the lock is lost.
    lives: int | None = None

    @property
    def position(self) -> int | None:
        """The checkpoint."""
        return self.bus.position

    async def announce(self, key: str, message: Message) -> None:
        """To everybody."""
        await self._live()
        self.bus.announced.append(Announcement(key=key, message=message))

    async def announce_all(self, announcements: Sequence[Announcement]) -> None:
        """Each to everybody."""
        self.bus.waves.append([each.message.id for each in announcements])
        for each in announcements:
            await self.announce(each.key, each.message)

    async def reply(self, queue: str, message: Message) -> None:
        """To one queue."""
        await self._live()
        self.bus.replies.append((queue, message))

    async def advance(self, position: int) -> None:
        """Move the checkpoint."""
        await self._live()
        self.bus.position = position
        self.bus.advances.append(position)

    async def _live(self) -> None:
        await asyncio.sleep(0)
        if self.lives is not None:
            if self.lives == 0:
                raise BusUnavailable("the lock is lost")
            self.lives -= 1


@dataclass
class FakeAnnouncements:
    """One lock, one checkpoint."""

    position: int | None = None
    announced: list[Announcement] = field(default_factory=list)
    replies: list[tuple[str, Message]] = field(default_factory=list)
    advances: list[int] = field(default_factory=list)
    #: The ids of what was announced at once.
    waves: list[list[str | None]] = field(default_factory=list)
    #: For each hold to come: how many calls it survives. Afterwards they survive all.
    lives: list[int] = field(default_factory=list)
    holds: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[FakeHolder]:
        """Wait for the lock and hold it."""
        async with self.lock:
            self.holds += 1
            yield FakeHolder(self, self.lives.pop(0) if self.lives else None)

    def subscribe(
        self, patterns: list[str], *, name: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Announcement]]:
        """Not used by the read side."""
        raise NotImplementedError
