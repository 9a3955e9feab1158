"""The projector beside a backlog, on real buses: what it keeps in memory, and what it reads after a restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bus.messages import Batch, Message, Position, StreamName
from bus.ports import Bus, Streams
from hub.endings import Endings
from hub.projector import Projector
from hub.view import View
from schemas.executions import Wanted
from schemas.status import Status
from tests.integration.bus.conftest import Buses, buses
from tests.support.memory import live_objects, resident_bytes
from tests.support.records import asked, numbered, uid
from tests.support.wait import eventually

__all__ = ["buses"]

#: What waits in the memory test, and what each may take there: it would be one object if anything were kept of it, and a
#: record or a row of it a thousand bytes. The rest is what SQLite and the memory's own keeper hold on to.
MANY = 50_000
MOST_OBJECTS_EACH = 0.1
MOST_BYTES_EACH = 330


class Counted:
    """Streams that count what they give out."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self.given = 0
        self.begun_after: list[Position | None] = []

    async def append(self, stream: StreamName, key: str, message: Message) -> None:
        """As they do."""
        await self._streams.append(stream, key, message)

    async def end(self, stream: StreamName) -> int | None:
        """As they do."""
        return await self._streams.end(stream)

    async def read(self, stream: StreamName, after: Position | None) -> AsyncIterator[Batch]:
        """As they do."""
        if stream is StreamName.LOG:
            self.begun_after.append(after)
        async for batch in self._streams.read(stream, after):
            if stream is StreamName.LOG:
                self.given += len(batch)
            yield batch


@asynccontextmanager
async def projecting(streams: Streams, view: View) -> AsyncIterator[None]:
    """A projector that runs inside the context."""
    projector = Projector(streams, view, Endings(view), keep_finished=lambda: 1_000, on_transitions=lambda: None)
    task = asyncio.create_task(projector.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def accept(bus: Bus, first: int, count: int) -> None:
    """So many commands, some at a time."""
    for start in range(first, first + count, 100):
        numbers = range(start, min(start + 100, first + count))
        await asyncio.gather(*(bus.commands.accept("default", asked(uid(number)).message) for number in numbers))


async def shown(view: View, total: int) -> None:
    """Wait until the view has so many."""

    async def held() -> int:
        return (await view.held()).total

    await eventually(held, lambda seen: seen == total, within_seconds=240)


async def test_m35_a_restart_reads_only_what_is_new(buses: Buses, tmp_path: Path) -> None:
    bus = await buses.open()
    view = View(tmp_path / "view.db")
    await view.open()
    try:
        await accept(bus, 0, 3_000)
        before = Counted(bus.streams)
        async with projecting(before, view):
            await shown(view, 3_000)
        position = await view.position(StreamName.LOG)
        await view.close()
        await accept(bus, 3_000, 5)

        view = View(tmp_path / "view.db")
        await view.open()
        after = Counted(bus.streams)
        async with projecting(after, view):
            await shown(view, 3_005)
        assert (before.given, before.begun_after) == (3_000, [None])
        assert (after.given, after.begun_after) == (5, [position])
        assert (await view.statistics()).by_status[Status.QUEUED] == {"prog": 3_005}
    finally:
        await view.close()


class Generated:
    """A log of commands that nobody keeps: each is made as it is read."""

    def __init__(self) -> None:
        self._goal = 0
        self._news = asyncio.Event()

    def grow(self, goal: int) -> None:
        """It has so many records from now on."""
        self._goal = goal
        self._news.set()

    async def append(self, stream: StreamName, key: str, message: Message) -> None:
        """Nobody does."""
        raise NotImplementedError

    async def end(self, stream: StreamName) -> int | None:
        """Place of the last record."""
        return self._goal - 1 if stream is StreamName.LOG else None

    async def read(self, stream: StreamName, after: Position | None) -> AsyncIterator[Batch]:
        """Batches of a thousand."""
        place = 0 if after is None else after.offset + 1
        while True:
            self._news.clear()
            while stream is StreamName.LOG and place < self._goal:
                numbers = range(place, min(place + 1_000, self._goal))
                yield numbered(*(asked(uid(number)) for number in numbers), start=place)
                place = numbers.stop
            await self._news.wait()


async def test_m35_fifty_thousand_that_wait_take_no_memory_beside_the_view(tmp_path: Path) -> None:
    view = View(tmp_path / "view.db")
    await view.open()
    try:
        streams = Generated()
        async with projecting(streams, view):
            # What is made once is there before it is measured.
            streams.grow(2_000)
            await shown(view, 2_000)
            await view.page(100, Wanted(status=Status.QUEUED))
            # The last batch is in the projector's hands until the next one comes: one of a single record each time.
            streams.grow(2_001)
            await shown(view, 2_001)
            objects, resident = live_objects(), resident_bytes()
            streams.grow(2_001 + MANY)
            await shown(view, 2_001 + MANY)
            await view.page(100, Wanted(status=Status.QUEUED))
            streams.grow(2_002 + MANY)
            await shown(view, 2_002 + MANY)
            assert live_objects() - objects < MOST_OBJECTS_EACH * MANY
            assert resident_bytes() - resident < MOST_BYTES_EACH * MANY
    finally:
        await view.close()
