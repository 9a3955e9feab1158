"""Lost runners: the epoch is fenced, then what it had claimed ends, once, by whichever holder."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bus.attendance import Attendance
from bus.messages import LEASES_A_TTL, Claim, End, Lease, Record, StreamName, Tick
from gateway.errors import ViewUnavailable
from hub import lost_runners
from hub.lost_runners import LostRunners, lost_event
from hub.view import View
from schemas.events import Ended, parse_event
from schemas.executions import Execution
from schemas.reasons import Category, Reason
from schemas.retries import NEVER, Retry
from schemas.status import Status
from schemas.times import utc_now
from tests.support.memory_bus import MemoryBus
from tests.support.records import asked, ended, numbered, running, told, uid
from tests.support.wait import eventually

ONE, TWO, THREE = uid(1), uid(2), uid(3)
SECONDS = 5.0


class Ticking:
    """Leases whose ticks the test makes; who wants them waits."""

    def __init__(self) -> None:
        self.attendance = Attendance("me")
        self._wanted = asyncio.Event()
        self._made = asyncio.Event()
        self.holders = 0

    async def ticks(self, seconds: float) -> AsyncIterator[Attendance]:
        self.holders += 1
        self.attendance = Attendance("me")
        while True:
            self._wanted.set()
            await self._made.wait()
            self._made.clear()
            self.attendance.tick(Tick(holder="me", number=self.attendance.ticks + 1, seconds=seconds))
            yield self.attendance

    async def tick(self, number: int = 1) -> None:
        """So many ticks, each looked at before this returns."""
        for _ in range(number):
            await self._wanted.wait()
            self._wanted.clear()
            self._made.set()
            await asyncio.wait_for(self._wanted.wait(), 5)

    def hear(self, epoch: str, runner_id: str = "one", **fields: Any) -> None:
        now = utc_now()
        about = {"pool": "p", "max_concurrent_executions": 1, "started_at": now, "written_at": now}
        self.attendance.hear(Lease(**{"runner_id": runner_id, "epoch": epoch, **about, **fields}))

    async def keep(self, lease: Lease) -> None:
        raise NotImplementedError

    async def rival_of(self, lease: Lease) -> Lease | None:
        raise NotImplementedError

    async def follow(self) -> None:
        raise NotImplementedError

    def live(self) -> list[Lease]:
        raise NotImplementedError


class Bench:
    """A bus, a view that a projector fills from its log, and holders one after the other."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.bus = MemoryBus()
        self.leases = Ticking()

    @asynccontextmanager
    async def holder(
        self, *, projecting: bool = True, retry_of: Callable[[str], Retry] = lambda _: NEVER
    ) -> AsyncIterator[None]:
        lost = LostRunners(
            self.bus.decisions,
            self.bus.epochs,
            self.leases,
            self.bus.streams,
            self.view,
            retry_of=retry_of,
            lease_seconds=SECONDS,
        )
        tasks = [asyncio.create_task(lost.run())]
        if projecting:
            tasks.append(asyncio.create_task(self._project()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [asyncio.CancelledError] * len(tasks)

    async def _project(self) -> None:
        async for batch in self.bus.streams.read(StreamName.LOG, await self.view.position(StreamName.LOG)):
            await self.view.apply_log(batch, keep_finished=1000)

    async def ask(self, execution_id: str) -> None:
        await self.bus.commands.accept("default", asked(execution_id).message)
        await self.until(execution_id, Status.QUEUED)

    async def report(self, record: Record) -> None:
        await self.bus.streams.append(StreamName.LOG, record.key, record.message)

    async def claim(self, execution_id: str, epoch: str = "e", attempt: int = 1) -> Claim:
        claim = Claim(execution_id=execution_id, attempt=attempt, epoch=epoch, nonce=epoch, digest="d")
        assert await self.bus.decisions.decide(claim) == claim
        return claim

    async def until(self, execution_id: str, status: Status) -> Execution:
        async def found() -> Execution | None:
            return await self.view.find(execution_id)

        execution = await eventually(found, lambda seen: seen is not None and seen.status is status, within_seconds=20)
        assert execution is not None
        return execution

    @property
    def endings(self) -> list[Record]:
        return [record for record in self.bus.streams_.records[StreamName.LOG] if (record.message.id or "").endswith(":end")]


@pytest.fixture
def bench(view: View) -> Bench:
    return Bench(view)


async def test_what_a_lost_runner_ran_or_had_only_claimed_ends_with_its_reason(bench: Bench) -> None:
    async with bench.holder():
        for execution_id in (ONE, TWO, THREE):
            await bench.ask(execution_id)
        await bench.claim(ONE)
        await bench.claim(TWO)
        await bench.report(told(running(ONE)))
        await bench.until(ONE, Status.RUNNING)
        await bench.leases.tick(1)
        bench.leases.hear("e", "one")
        await bench.leases.tick(LEASES_A_TTL - 1)
        assert (bench.bus.epochs_.fenced, bench.endings) == ([], [])
        await bench.leases.tick()
        assert bench.bus.epochs_.fenced == ["e"]
        ran, claimed = await bench.until(ONE, Status.FAILED), await bench.until(TWO, Status.FAILED)
        assert (await bench.until(THREE, Status.QUEUED)).reason is None
        await bench.leases.tick(3)
    assert (ran.reason, ran.category, ran.started_at is None) == (Reason.RUNNER_LOST, Category.SYSTEM, False)
    assert ran.message == "Runner one was lost: nothing was heard of it for longer than its lease."
    assert ran.stdout is not None and ran.stdout.truncated
    assert (claimed.reason, claimed.started_at, claimed.runner_id) == (Reason.RUNNER_LOST, None, "one")
    assert len(bench.endings) == 2


async def test_a_runner_that_is_heard_of_in_time_loses_nothing(bench: Bench) -> None:
    async with bench.holder():
        await bench.ask(ONE)
        await bench.claim(ONE)
        for _ in range(5):
            bench.leases.hear("e")
            await bench.leases.tick(LEASES_A_TTL - 1)
        bench.leases.hear("e", ttl_seconds=600, leaves=True)
        await bench.leases.tick(100)
    assert (bench.bus.epochs_.fenced, bench.endings) == ([], [])


async def test_bus1_what_a_silent_runner_has_only_just_claimed_is_not_lost_before_its_lease_had_time_to_be_read(
    bench: Bench,
) -> None:
    async with bench.holder():
        await bench.ask(ONE)
        await bench.leases.tick(LEASES_A_TTL + 2)
        await bench.claim(ONE)
        await bench.leases.tick()
        assert bench.bus.epochs_.fenced == []
        bench.leases.hear("e")
        await bench.leases.tick(LEASES_A_TTL - 1)
        assert (bench.bus.epochs_.fenced, bench.endings) == ([], [])
        await bench.leases.tick()
        assert bench.bus.epochs_.fenced == ["e"]


async def test_a_silent_runner_without_anything_unfinished_is_left_alone(bench: Bench) -> None:
    async with bench.holder():
        await bench.ask(ONE)
        await bench.claim(ONE)
        await bench.report(told(ended(ONE)))
        await bench.until(ONE, Status.COMPLETED)
        await bench.claim(uid(77))  # of which the view knows nothing
        await bench.leases.tick(20)
    assert bench.bus.epochs_.fenced == []


async def test_the_next_holder_goes_on_from_the_fence_where_the_one_before_died(bench: Bench) -> None:
    async with bench.holder():
        await bench.ask(ONE)
    await bench.claim(ONE)
    await bench.bus.epochs.fence("e")
    async with bench.holder():
        await bench.leases.tick()
        assert (await bench.until(ONE, Status.FAILED)).reason is Reason.RUNNER_LOST
        await bench.leases.tick(3)
    assert len(bench.endings) == 1


async def test_what_the_view_comes_to_know_later_ends_too(bench: Bench) -> None:
    await bench.claim(ONE)
    async with bench.holder():
        await bench.leases.tick(LEASES_A_TTL + 2)
        assert bench.bus.epochs_.fenced == []
        await bench.ask(ONE)
        await bench.leases.tick()
        await bench.until(ONE, Status.FAILED)
    assert bench.bus.epochs_.fenced == ["e"]


async def test_a_later_attempt_that_another_runner_claimed_is_not_ended_with_the_first(bench: Bench) -> None:
    async with bench.holder():
        await bench.ask(ONE)
        await bench.claim(ONE, "lost")
        await bench.claim(ONE, "alive", attempt=2)
        for _ in range(3):
            await bench.leases.tick(LEASES_A_TTL - 1)
            bench.leases.hear("alive")
    assert bench.endings == []


async def test_m8_what_is_to_be_tried_again_is_an_attempt_that_another_one_follows_unless_it_was_cancelled(
    bench: Bench,
) -> None:
    async with bench.holder(retry_of=lambda _: Retry(max=1)):
        for execution_id in (ONE, TWO):
            await bench.ask(execution_id)
            await bench.claim(execution_id)
        await bench.bus.decisions.decide(End(execution_id=TWO, reason="cancelled"))
        await bench.leases.tick(LEASES_A_TTL)
        assert (await bench.until(TWO, Status.FAILED)).attempt == 1

        async def attempt() -> int:
            execution = await bench.view.find(ONE)
            return execution.attempt if execution else 0

        await eventually(attempt, lambda number: number == 2)
        await bench.leases.tick(3)
        waiting = await bench.until(ONE, Status.QUEUED)
    assert waiting.retry_at is not None
    assert [(each.number, each.reason) for each in waiting.earlier] == [(1, Reason.RUNNER_LOST)]
    assert len(bench.endings) == 1


async def test_bus_and_view_may_come_and_go_meanwhile(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    find_all, failures = bench.view.find_all, 2

    async def flaky(execution_ids: list[str]) -> list[Execution]:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ViewUnavailable("locked")
        return await find_all(execution_ids)

    async with bench.holder():
        await bench.ask(ONE)
        await bench.claim(ONE)
        monkeypatch.setattr(bench.view, "find_all", flaky)
        await bench.leases.tick(LEASES_A_TTL + 1)
        bench.bus.away = True
        await bench.leases.tick(3)
        assert bench.endings == []
        bench.bus.away = False
        await bench.leases.tick()
        await bench.until(ONE, Status.FAILED)
    assert len(bench.endings) == 1


async def test_what_the_view_does_not_show_is_written_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_runners, "_WRITE_AGAIN_SECONDS", 0.0)
    await bench.view.apply_log(numbered(asked(ONE)), keep_finished=10)
    await bench.claim(ONE)
    async with bench.holder(projecting=False):
        await bench.leases.tick(LEASES_A_TTL + 2)
    assert len(bench.endings) >= 2


async def test_all_claims_are_looked_at_anew_now_and_then(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_runners, "_MOST_UNKNOWN", 0)
    monkeypatch.setattr(lost_runners, "_LOOK_ANEW_TICKS", 20)
    await bench.claim(ONE)
    async with bench.holder():
        await bench.leases.tick(10)
        await bench.ask(ONE)
        await bench.leases.tick(10)
        await bench.until(ONE, Status.FAILED)


def test_a_program_id_that_is_none_has_a_key_all_the_same() -> None:
    claim = Claim(execution_id=ONE, attempt=2, epoch="e", nonce="n", digest="d")
    event = lost_event(Execution(execution_id=ONE, program_id="no id!", status=Status.QUEUED), claim, None)
    parsed = parse_event(event.to_bytes())
    assert isinstance(parsed.data, Ended)
    assert (parsed.routing_key, parsed.data.attempt) == ("execution.failed.unknown", 2)
