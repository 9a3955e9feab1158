"""Records that come one after the other are stored together, and who waits for one of them does not wait for the others."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from bus.errors import StreamGap
from bus.messages import Batch, Position, Record
from hub.batches import closing, gathered
from tests.support.records import asked, numbered, uid


class Source:
    """A stream that a test fills."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Batch | Exception] = asyncio.Queue()
        self.closed = False

    async def read(self) -> AsyncGenerator[Batch, None]:
        try:
            while True:
                batch = await self.queue.get()
                if isinstance(batch, Exception):
                    raise batch
                yield batch
        finally:
            self.closed = True

    def put(self, *numbers: int) -> None:
        self.queue.put_nowait(numbered(*(asked(uid(number)) for number in numbers), start=numbers[0]))


def ids(batch: Batch) -> list[int]:
    return [record.position.offset for record in batch]


def never(_record: Record) -> bool:
    return False


async def test_what_comes_alone_is_given_out_at_once_and_what_comes_soon_after_together() -> None:
    source = Source()
    source.put(0)
    async with closing(gathered(source.read(), never, window_seconds=0.2)) as batches:
        # A window that never ends would make this wait for ever.
        assert ids(await asyncio.wait_for(anext(batches), 5)) == [0]
        source.put(1)
        source.put(2, 3)
        source.put(4)
        assert ids(await asyncio.wait_for(anext(batches), 5)) == [1, 2, 3, 4]


async def test_what_is_urgent_waits_for_no_window_nor_does_what_came_before_it() -> None:
    source = Source()
    source.put(0)
    async with closing(gathered(source.read(), lambda record: record.message.id == uid(2), window_seconds=3600)) as batches:
        assert ids(await anext(batches)) == [0]
        source.put(1)
        source.put(2)
        assert ids(await asyncio.wait_for(anext(batches), 5)) == [1, 2]


def is_small(record: Record) -> bool:
    return record.position.offset < 10


async def test_what_is_followed_by_more_waits_for_that_which_then_comes_as_if_alone() -> None:
    source = Source()
    source.put(0)
    gathering = gathered(source.read(), never, is_followed=is_small, window_seconds=0.01, patience_seconds=3600)
    async with closing(gathering) as batches:
        reading = asyncio.ensure_future(anext(batches))
        source.put(1)
        source.put(10)
        assert ids(await asyncio.wait_for(reading, 5)) == [0, 1, 10]


async def test_what_nothing_follows_after_all_does_not_wait_for_long() -> None:
    source = Source()
    source.put(0)
    gathering = gathered(source.read(), never, is_followed=is_small, window_seconds=3600, patience_seconds=0.05)
    async with closing(gathering) as batches:
        assert ids(await asyncio.wait_for(anext(batches), 5)) == [0]
        source.put(1)
        assert ids(await asyncio.wait_for(anext(batches), 5)) == [1]


async def test_what_is_followed_by_more_keeps_what_is_not_from_going_out_no_longer_than_the_window() -> None:
    source = Source()
    source.put(10)
    gathering = gathered(source.read(), never, is_followed=is_small, window_seconds=0.2, patience_seconds=3600)
    async with closing(gathering) as batches:
        assert ids(await anext(batches)) == [10]
        source.put(1)
        source.put(11)
        source.put(2)
        assert ids(await asyncio.wait_for(anext(batches), 5)) == [1, 11, 2]


async def test_enough_records_wait_for_no_window() -> None:
    source = Source()
    source.put(0)
    async with closing(gathered(source.read(), never, window_seconds=3600, enough=3)) as batches:
        assert ids(await anext(batches)) == [0]
        source.put(1)
        source.put(2, 3, 4)
        assert ids(await asyncio.wait_for(anext(batches), 5)) == [1, 2, 3, 4]


async def test_before_a_gap_is_told_all_that_was_read_is_given_out() -> None:
    source = Source()
    source.put(0)
    async with closing(gathered(source.read(), never, window_seconds=3600)) as batches:
        assert ids(await anext(batches)) == [0]
        source.put(1)
        source.queue.put_nowait(StreamGap("log", Position(1, uid(1)), None))
        assert ids(await asyncio.wait_for(anext(batches), 5)) == [1]
        with pytest.raises(StreamGap):
            await anext(batches)


async def test_leaving_stops_the_reading() -> None:
    source = Source()
    read = source.read()
    source.put(0)
    async with closing(read), closing(gathered(read, never)) as batches:
        await anext(batches)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(batches)
    assert source.closed
