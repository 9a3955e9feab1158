"""What is kept of a program's output: its head and its tail up to a limit, exact counts, and memory that stays flat."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from runner.engine import Frame, Share
from runner.waiting import cancel
from schemas.output import INLINE_OUTPUT_BYTES, MAX_CHUNK_BYTES, StreamName, StreamSummary

#: Seconds that a byte waits for company before it is published.
FLUSH_SECONDS = 0.1
#: Most bytes of a stream's end that are held in memory for the case that the stream grows too long.
_LONGEST_TAIL = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of one stream, at most 64 KiB, to be published."""

    stream: StreamName
    #: From 0, without gaps within its stream.
    sequence: int
    content: bytes
    #: Who wrote it, where there are several writers.
    shares: tuple[Share, ...] = ()


class Shares:
    """Who wrote what of a stretch of one stream that grows at its end and is taken from its beginning."""

    def __init__(self) -> None:
        self._waiting: deque[Share] = deque()

    def add(self, source: int | None, size_bytes: int) -> None:
        """So many bytes more; ``None`` wrote them where there is but one writer."""
        if source is None or size_bytes == 0:
            return
        if self._waiting and self._waiting[-1].source == source:
            size_bytes += self._waiting.pop().size_bytes
        self._waiting.append(Share(source, size_bytes))

    def take(self, size_bytes: int) -> tuple[Share, ...]:
        """The shares of the first so many bytes."""
        taken = []
        while size_bytes > 0 and self._waiting:
            first = self._waiting.popleft()
            mine = min(size_bytes, first.size_bytes)
            taken.append(Share(first.source, mine))
            if mine < first.size_bytes:
                self._waiting.appendleft(Share(first.source, first.size_bytes - mine))
            size_bytes -= mine
        return tuple(taken)


class _Stream:
    """One stream. Its head is handed out as it comes; its tail is held back, as only the end shows what the tail is."""

    def __init__(self, name: StreamName, limit_bytes: int, published: StreamSummary) -> None:
        self._name = name
        #: Bytes of the beginning that an earlier life of the runner has published: they are counted, and not published again.
        self._published_bytes = published.kept_bytes
        self._tail_limit = min(limit_bytes // 2, _LONGEST_TAIL)
        self._head_room = limit_bytes - self._tail_limit
        #: Part of the head that was not handed out yet.
        self._pending = bytearray()
        self._pending_since = 0.0
        self._shares = Shares()
        self._tail = bytearray()
        #: The head as long as it is short enough to travel inside the terminal event.
        self._short_head: bytearray | None = bytearray()
        self._head_bytes = 0
        self.total_bytes = 0
        self.chunks = published.chunks

    @property
    def kept_bytes(self) -> int:
        return self._head_bytes + len(self._tail)

    def add(self, content: bytes, now: float, source: int | None) -> None:
        self.total_bytes += len(content)
        head, tail = content[: self._head_room], content[self._head_room :]
        if head:
            if not self._pending:
                self._pending_since = now
            fresh = head[self._published_bytes :]
            self._pending += fresh
            self._shares.add(source, len(fresh))
            self._published_bytes -= min(len(head), self._published_bytes)
            self._head_room -= len(head)
            self._head_bytes += len(head)
            if self._short_head is not None:
                self._short_head += head
                if len(self._short_head) > INLINE_OUTPUT_BYTES:
                    self._short_head = None
        if tail:
            self._tail += tail
            del self._tail[: max(0, len(self._tail) - self._tail_limit)]

    def seconds_until_due(self, now: float) -> float | None:
        if not self._pending:
            return None
        return max(0.0, self._pending_since + FLUSH_SECONDS - now)

    def due(self, now: float) -> list[Piece]:
        pieces = []
        while len(self._pending) >= MAX_CHUNK_BYTES or self.seconds_until_due(now) == 0.0:
            pieces.append(self._cut())
            self._pending_since = now
        return pieces

    def flush(self) -> list[Piece]:
        """Everything that is left, at the end."""
        self._pending += self._tail
        pieces = []
        while self._pending:
            pieces.append(self._cut())
        return pieces

    @property
    def lacks_its_beginning(self) -> bool:
        """Whether less came than was once published: the engine's record of a flood is cut too."""
        return self._published_bytes > 0

    def content(self) -> bytes:
        """All that was kept; to be asked for only while it is short."""
        return bytes(self._short_head or b"") + bytes(self._tail)

    def short_content(self) -> bytes | None:
        return self.content() if self.kept_bytes <= INLINE_OUTPUT_BYTES and not self.lacks_its_beginning else None

    def _cut(self) -> Piece:
        content = bytes(self._pending[:MAX_CHUNK_BYTES])
        piece = Piece(self._name, self.chunks, content, self._shares.take(len(content)))
        del self._pending[:MAX_CHUNK_BYTES]
        self.chunks += 1
        return piece


class Capture:
    """Both streams of one execution. Not a byte of them is looked at."""

    def __init__(self, limit_bytes: int, published: Mapping[StreamName, StreamSummary] | None = None) -> None:
        """``published`` is what an earlier life of the runner has published; all of the output is to be added again."""
        self._streams = {name: _Stream(name, limit_bytes, (published or {}).get(name, StreamSummary())) for name in StreamName}

    def add(self, frame: Frame, now: float) -> None:
        """Take in what the program wrote."""
        self._streams[frame.stream].add(frame.content, now, frame.source)

    def seconds_until_due(self, now: float) -> float | None:
        """Seconds until :meth:`due` has something whatever comes; ``None`` where nothing waits."""
        waits = [wait for stream in self._streams.values() if (wait := stream.seconds_until_due(now)) is not None]
        return min(waits, default=None)

    def due(self, now: float) -> list[Piece]:
        """What is to be published now: full pieces, and what has waited long enough."""
        return [piece for stream in self._streams.values() for piece in stream.due(now)]

    def short_content(self, stream: StreamName) -> bytes | None:
        """What was kept of one stream so far, where that is short."""
        return self._streams[stream].short_content()

    def finish(self, *, lacks_some: bool = False) -> tuple[list[Piece], StreamSummary, StreamSummary]:
        """The last pieces and the summaries of stdout and stderr, after the program's end. To be called once.

        ``lacks_some`` says that the program may have written more than was added: then both are told as cut.
        Short output travels inside the summaries, and where no piece was published before, there only.
        """
        streams = self._streams.values()
        inline = sum(stream.kept_bytes for stream in streams) <= INLINE_OUTPUT_BYTES
        # Who follows the pieces gets all of them; where there were none, the summary alone will do.
        pieces = [piece for stream in streams for piece in stream.flush()] if not inline or self._any_published() else []
        out, err = (self._summary(name, inline) for name in (StreamName.STDOUT, StreamName.STDERR))
        if lacks_some:
            out, err = (summary.model_copy(update={"truncated": True}) for summary in (out, err))
        return pieces, out, err

    def _any_published(self) -> bool:
        return any(stream.chunks for stream in self._streams.values())

    def _summary(self, name: StreamName, inline: bool) -> StreamSummary:
        stream = self._streams[name]
        if inline and not stream.lacks_its_beginning:
            return StreamSummary.inline(stream.content(), total=stream.total_bytes, chunks=stream.chunks)
        return StreamSummary(
            total_bytes=stream.total_bytes,
            kept_bytes=stream.kept_bytes,
            chunks=stream.chunks,
            truncated=stream.total_bytes > stream.kept_bytes or stream.lacks_its_beginning,
        )


async def pump(frames: AsyncGenerator[Frame, None], capture: Capture, publish: Callable[[Piece], Awaitable[None]]) -> None:
    """Move a program's output into ``capture``, and publish its pieces as they are due, until the output ends.

    While ``publish`` takes its time nothing is read, which in the end slows the program down: so memory stays bounded.
    """

    async def next_frame() -> Frame | None:
        return await anext(frames, None)

    reading: asyncio.Task[Frame | None] | None = None
    try:
        while True:
            # Kept over the pauses for publishing: cancelling a read would lose what it has got.
            reading = reading or asyncio.create_task(next_frame(), name="read output")
            done, _ = await asyncio.wait({reading}, timeout=capture.seconds_until_due(time.monotonic()))
            if done:
                frame = reading.result()
                reading = None
                if frame is None:
                    return
                capture.add(frame, time.monotonic())
            if pieces := capture.due(time.monotonic()):
                # Together, in their order: what comes after a piece is asked for after it.
                await asyncio.gather(*map(publish, pieces))
    finally:
        if reading is not None:
            await cancel(reading)
        await frames.aclose()
