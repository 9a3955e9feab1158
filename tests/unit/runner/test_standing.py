"""Whether a runner may act: sure while leases follow each other closely, and after a gap only once it has caught up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest

from bus.errors import Fenced
from runner.journal import Journal
from runner.standing import Standing
from tests.support.memory_bus import MemoryBus
from tests.support.wait import eventually

TTL = 30.0


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Bench:
    def __init__(self, journal: Journal) -> None:
        self.bus = MemoryBus()
        self.clock = Clock()
        self.journal = journal
        self.standing = Standing(self.bus.epochs, journal, ttl_seconds=TTL, clock=self.clock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.standing.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def sure(self) -> Awaitable[None]:
        return asyncio.wait_for(self.standing.sure(self.journal.epoch), 2)

    async def is_unsure(self) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self.standing.sure(self.journal.epoch), 0.05)

    def lease(self, *, took: float = 0.0) -> None:
        begun_at = self.standing.now()
        self.clock.seconds += took
        self.standing.kept(begun_at)


@pytest.fixture
def bench(journal: Journal) -> Bench:
    return Bench(journal)


async def test_nobody_is_sure_before_the_first_lease_and_then_without_asking_again(bench: Bench) -> None:
    async with bench.running():
        await bench.is_unsure()
        bench.lease()
        await bench.sure()
        for _ in range(10):
            bench.clock.seconds += TTL / 2 - 1
            await bench.sure()
            bench.lease()
    assert bench.bus.epochs_.times_caught_up == 1


async def test_fault5_after_a_gap_it_catches_up_first(bench: Bench) -> None:
    async with bench.running():
        bench.lease()
        await bench.sure()
        bench.clock.seconds += TTL / 2
        await bench.is_unsure()
        bench.bus.away = True
        bench.lease()
        await bench.is_unsure()
        bench.bus.away = False
        await bench.sure()
    assert bench.bus.epochs_.times_caught_up == 2


async def test_a_lease_that_took_long_to_be_written_counts_from_when_it_was_begun(bench: Bench) -> None:
    async with bench.running():
        bench.lease(took=TTL / 2)
        await bench.is_unsure()


async def test_a_runner_that_was_frozen_and_fenced_learns_of_it_before_it_acts(bench: Bench) -> None:
    async with bench.running():
        bench.lease()
        await bench.sure()
        epoch = bench.journal.epoch
        bench.clock.seconds += 2 * TTL
        await bench.bus.epochs.fence(epoch)
        waiting = asyncio.create_task(bench.standing.sure(epoch))
        bench.lease()
        with pytest.raises(Fenced):
            await asyncio.wait_for(waiting, 2)
        renewed = asyncio.create_task(bench.standing.until_renewed(epoch))
        await bench.journal.renew(epoch)
        bench.standing.renewed()
        await asyncio.wait_for(renewed, 2)
        await bench.sure()
        with pytest.raises(Fenced):
            await bench.standing.sure(epoch)
        assert bench.standing.is_over(epoch)
        assert not bench.standing.is_over(bench.journal.epoch)


async def test_another_gap_while_it_catches_up_is_caught_up_with_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    catch_up = bench.bus.epochs_.catch_up

    async def slow() -> None:
        asked.set()
        await go_on.wait()
        await catch_up()

    monkeypatch.setattr(bench.bus.epochs_, "catch_up", slow)
    async with bench.running():
        bench.lease()
        await asked.wait()
        bench.clock.seconds += TTL
        bench.lease()
        go_on.set()
        await bench.sure()

        async def times() -> int:
            return bench.bus.epochs_.times_caught_up

        await eventually(times, lambda number: number == 2)
