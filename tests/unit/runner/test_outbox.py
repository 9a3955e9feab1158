import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bus.errors import Fenced
from bus.messages import StreamName as BusStream
from runner.claimed import Claimed
from runner.journal import Journal
from runner.outbox import Outbox
from runner.outgoing import Report
from schemas.commands import ExecuteProgram
from schemas.ids import new_execution_id
from tests.support.memory_bus import MemoryBus
from tests.support.wait import eventually


@asynccontextmanager
async def telling(journal: Journal, bus: MemoryBus) -> AsyncIterator[Outbox]:
    outbox = Outbox(journal, bus.streams)
    task = asyncio.create_task(outbox.run())
    try:
        yield outbox
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def claim(journal: Journal) -> Claimed:
    claimed = journal.new_claim(new_execution_id(), 1, "d", ExecuteProgram(program_id="x"))
    assert await journal.claim(claimed)
    return claimed


async def write(journal: Journal, claimed: Claimed, count: int) -> list[str]:
    ids = [f"{claimed.execution_id}:{number}" for number in range(count)]
    await journal.ended(claimed, *(Report(claimed.execution_id, BusStream.LOG, "execution.x.y", id_, b"{}") for id_ in ids))
    return ids


def told(bus: MemoryBus, claimed: Claimed) -> list[str | None]:
    ids = [record.message.id for record in bus.streams_.records[BusStream.LOG]]
    return [id_ for id_ in ids if (id_ or "").startswith(claimed.execution_id)]


async def test_reports_of_each_execution_are_told_in_their_order_and_then_deleted(journal: Journal) -> None:
    bus = MemoryBus()
    async with telling(journal, bus) as outbox:
        claims = [await claim(journal) for _ in range(3)]
        written = await asyncio.gather(*(write(journal, claimed, 50) for claimed in claims))
        assert await outbox.flushed(5)
    assert [told(bus, claimed) for claimed in claims] == written
    assert await journal.next_reports(10) == []


async def test_while_the_bus_is_away_reports_wait_and_are_told_in_order_when_it_is_back_n10(journal: Journal) -> None:
    bus = MemoryBus()
    bus.away = True
    async with telling(journal, bus) as outbox:
        claimed = await claim(journal)
        written = await write(journal, claimed, 5)
        assert not await outbox.flushed(0.05)
        assert told(bus, claimed) == []
        bus.away = False
        assert await outbox.flushed(5)
    assert told(bus, claimed) == written


async def test_what_an_earlier_life_left_in_the_journal_is_told(journal: Journal) -> None:
    bus = MemoryBus()
    claimed = await claim(journal)
    written = await write(journal, claimed, 3)
    async with telling(journal, bus) as outbox:
        assert await outbox.flushed(5)
    assert told(bus, claimed) == written


async def test_the_death_of_the_stream_is_not_kept_quiet(journal: Journal) -> None:
    class Broken(MemoryBus):
        def check(self) -> None:
            raise LookupError("not an error of the bus")

    outbox = Outbox(journal, Broken().streams)
    task = asyncio.create_task(outbox.run())
    await write(journal, await claim(journal), 1)

    async def done() -> bool:
        return task.done()

    await eventually(done)
    assert isinstance(task.exception(), ExceptionGroup)


async def test_what_was_read_before_the_epoch_ended_is_not_told_after_it(journal: Journal) -> None:
    bus = MemoryBus()
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def may_tell(epoch: str) -> None:
        asked.set()
        await go_on.wait()
        if epoch != journal.epoch:
            raise Fenced(epoch)

    outbox = Outbox(journal, bus.streams, may_tell=may_tell)
    task = asyncio.create_task(outbox.run())
    try:
        claimed = await claim(journal)
        await write(journal, claimed, 3)
        await asyncio.wait_for(asked.wait(), 5)
        late = Report(claimed.execution_id, BusStream.LOG, "execution.x.y", f"{claimed.execution_id}:late", b"{}")
        await journal.renew(journal.epoch, late)
        go_on.set()
        assert await outbox.flushed(5)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert told(bus, claimed) == [late.message_id]
    assert await journal.claims() == []


async def test_an_ending_does_not_wait_until_what_was_told_is_crossed_out(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing that may wait for company is committed while this goes on, unless something in a hurry comes.
    monkeypatch.setattr("runner.writer_thread._PATIENT_SECONDS", 3600.0)
    bus = MemoryBus()
    async with telling(journal, bus):
        claimed = await claim(journal)
        (first,) = await write(journal, claimed, 1)

        async def is_told() -> bool:
            return told(bus, claimed) == [first]

        await eventually(is_told)
        assert journal.outbox_bytes > 0
        second = await write(journal, claimed, 2)

        async def all_are_told() -> bool:
            return told(bus, claimed)[-1] == second[-1]

        await eventually(all_are_told)


async def test_of_many_reports_at_once_each_is_told_in_its_order(journal: Journal) -> None:
    bus = MemoryBus()
    claimed = await claim(journal)
    # More than are kept at hand, and more than are told at a time.
    before = await write(journal, claimed, 200)
    async with telling(journal, bus) as outbox:
        assert await outbox.flushed(10)
        other = await claim(journal)
        after = await write(journal, other, 200)
        assert await outbox.flushed(10)
    assert told(bus, claimed) == before
    assert told(bus, other) == after
