"""M8: the retrier: the next attempt of what waits for one is queued when it is due, by whoever holds the lock then."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bus.errors import BusUnavailable, UnknownPool
from bus.messages import Claim, End, Message, Record, Source, StreamName
from gateway.errors import ViewUnavailable
from hub.attempts import ending_of
from hub.duties import together
from hub.ender import Ender
from hub.retrier import Retrier
from hub.view import View
from schemas.catalogue import Catalogue
from schemas.commands import digest_of, parse_execute, parse_retry
from schemas.events import AttemptEnded, Ended
from schemas.executions import Execution, ToRetry
from schemas.reasons import Reason
from schemas.settings import ProgramSettings
from schemas.status import Status
from schemas.times import utc_now
from tests.support.memory_bus import MemoryBus
from tests.support.records import asked, attempt_ended, ended, told, uid
from tests.support.runner_fixtures import make_program
from tests.support.wait import eventually

ONE, TWO = uid(1), uid(2)


class Bench:
    """A bus, a view that a projector fills from its log, and retriers."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.bus = MemoryBus()
        programs = (make_program("prog", retry=3), make_program("elsewhere", pool="other"))
        self.catalogue = Catalogue(programs, ProgramSettings(), project_dir=None)  # type: ignore[arg-type]
        self.on_transitions: list[Callable[[], None]] = []

    def make(self, waiting: Any = None) -> Retrier:
        bus = self.bus
        retrier = Retrier(bus.commands, bus.decisions, bus.streams, waiting or self.view, lambda: self.catalogue)
        self.on_transitions.append(retrier.wake)
        return retrier

    @asynccontextmanager
    async def running(self, *duties: Retrier | Ender, projecting: bool = True) -> AsyncIterator[None]:
        works = [asyncio.create_task(together(*(duty.run for duty in duties))())] if duties else []
        if projecting:
            works.append(asyncio.create_task(self._project()))
        try:
            yield
        finally:
            for work in works:
                work.cancel()
            results = await asyncio.gather(*works, return_exceptions=True)
            assert [type(result) for result in results] == [asyncio.CancelledError] * len(works)

    async def _project(self) -> None:
        async for batch in self.bus.streams.read(StreamName.LOG, await self.view.position(StreamName.LOG)):
            await self.view.apply_log(batch, keep_finished=1000)
            for wake in self.on_transitions:
                wake()

    async def ask(self, execution_id: str, **fields: Any) -> None:
        await self.bus.commands.accept("default", asked(execution_id, **fields).message)

    async def fail(self, execution_id: str, *, due_in_seconds: float, attempt: int = 1, **fields: Any) -> None:
        """An attempt has ended just now, and the next one is due in so many seconds."""
        now = utc_now()
        times = {"ended_at": now, "retry_at": now + timedelta(seconds=due_in_seconds), "started_at": now}
        record = told(attempt_ended(execution_id, attempt, **times | fields))
        await self.bus.streams.append(StreamName.LOG, record.key, record.message)

    def queued(self) -> list[Record]:
        """The attempts beyond the first that were queued, ever."""
        return [record for record in self.bus.streams_.records[StreamName.LOG] if record.key.startswith("retry.")]

    async def until_queued(self, count: int) -> list[Record]:
        async def look() -> list[Record]:
            return self.queued()

        return await eventually(look, lambda records: len(records) >= count, within_seconds=20)

    async def until(self, execution_id: str, is_so: Callable[[Execution], bool]) -> Execution:
        async def look() -> Execution | None:
            return await self.view.find(execution_id)

        found = await eventually(look, lambda row: row is not None and is_so(row), within_seconds=20)
        assert found is not None
        return found


@pytest.fixture
def bench(view: View) -> Bench:
    return Bench(view)


async def test_m8_the_next_attempt_is_queued_when_it_is_due_and_says_what_was_asked_for(bench: Bench) -> None:
    async with bench.running(bench.make()):
        await bench.ask(ONE, program="key-of-prog", parameters={"a": [1]}, submitted_by="ana")
        started = asyncio.get_running_loop().time()
        await bench.fail(ONE, due_in_seconds=0.4)
        (record,) = await bench.until_queued(1)
        assert asyncio.get_running_loop().time() - started >= 0.35
        row = await bench.until(ONE, lambda row: row.retry_at is None)
        await asyncio.sleep(0.1)
    assert (record.source, record.key, record.message.id) == (Source.REPORTS, "retry.default", ONE)
    _, command = parse_retry(record.message.id, record.message.body)
    assert (command.attempt, command.program_id, command.parameters, command.submitted_by) == (2, "prog", {"a": [1]}, "ana")
    # The one that its caller sent named the program otherwise; it is still the same command.
    first = asked(ONE, program="key-of-prog", parameters={"a": [1]}).message
    assert command.digest == row.digest == digest_of(parse_execute(first.id, first.body)[1])
    assert (row.status, row.attempt, row.parameters) == (Status.QUEUED, 2, {"a": [1]})
    assert len(bench.queued()) == 1


async def test_m8_a_program_has_the_pool_of_the_moment(bench: Bench) -> None:
    async with bench.running(bench.make()):
        for execution_id, program in ((ONE, "elsewhere"), (TWO, "gone")):
            await bench.ask(execution_id, program=program)
            await bench.fail(execution_id, due_in_seconds=0.01, program_id=program)
        records = await bench.until_queued(2)
    assert {record.message.id: record.key for record in records} == {ONE: "retry.other", TWO: "retry.default"}


async def test_m8_whoever_holds_the_lock_next_queues_what_the_one_before_left(bench: Bench) -> None:
    await bench.ask(ONE)
    async with bench.running(bench.make()):
        await bench.fail(ONE, due_in_seconds=0.5)
        await bench.until(ONE, lambda row: row.retry_at is not None)
    assert bench.queued() == []
    async with bench.running(bench.make()):
        await bench.until_queued(1)


async def test_m8_what_is_queued_already_is_not_queued_by_the_next_holder(bench: Bench) -> None:
    await bench.ask(ONE)
    async with bench.running(bench.make()):
        await bench.fail(ONE, due_in_seconds=0.01)
        await bench.until(ONE, lambda row: row.attempt == 2 and row.retry_at is None)
    async with bench.running(bench.make()):
        await asyncio.sleep(0.2)
    assert len(bench.queued()) == 1


async def test_m8_a_view_that_is_behind_does_not_have_it_queued_again_at_once(bench: Bench) -> None:
    async with bench.running():
        await bench.ask(ONE)
        await bench.fail(ONE, due_in_seconds=0.01)
        await bench.until(ONE, lambda row: row.retry_at is not None)
    retrier = bench.make()
    async with bench.running(retrier, projecting=False):
        await bench.until_queued(1)
        for _ in range(5):
            retrier.wake()
            await asyncio.sleep(0.02)
    assert len(bench.queued()) == 1


async def test_m8_the_bus_may_be_away_when_it_is_due(bench: Bench) -> None:
    async with bench.running(bench.make()):
        await bench.ask(ONE)
        await bench.fail(ONE, due_in_seconds=0.1)
        await bench.until(ONE, lambda row: row.retry_at is not None)
        bench.bus.away = True
        await asyncio.sleep(0.3)
        assert bench.queued() == []
        bench.bus.away = False
        await bench.until_queued(1)


async def test_m8_a_pool_without_a_queue_holds_up_nobody_else(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bench.bus.commands_.retry

    async def retry(pool: str, message: Message) -> None:
        if pool == "other":
            raise UnknownPool(pool)
        await real(pool, message)

    monkeypatch.setattr(bench.bus.commands_, "retry", retry)
    async with bench.running(bench.make()):
        await bench.ask(ONE, program="elsewhere")
        await bench.ask(TWO)
        await bench.fail(ONE, due_in_seconds=0.01, program_id="elsewhere")
        await bench.fail(TWO, due_in_seconds=0.02)
        (record,) = await bench.until_queued(1)
    assert record.message.id == TWO


async def test_m8_the_clock_of_another_host_makes_no_pause_longer_than_it_was_meant(bench: Bench) -> None:
    async with bench.running(bench.make()):
        await bench.ask(ONE)
        tomorrow = utc_now() + timedelta(days=1)
        await bench.fail(ONE, due_in_seconds=0, ended_at=tomorrow, retry_at=tomorrow + timedelta(seconds=0.2))
        await bench.until_queued(1)


async def test_m8_what_nobody_knows_exactly_is_not_tried_again_and_ends(bench: Bench) -> None:
    async with bench.running(bench.make()):
        # The command of which the runner speaks is not the one in the log.
        await bench.ask(ONE)
        await bench.fail(ONE, due_in_seconds=0.01, digest="another")
        row = await bench.until(ONE, lambda row: row.status.is_terminal)
    assert (row.status, row.attempt, row.reason) == (Status.FAILED, 2, Reason.INTERNAL)
    assert bench.queued() == []


@pytest.mark.parametrize("waits_for", ["its pause", "a runner"])
async def test_m8_m1_a_cancel_between_attempts_ends_it_once_by_the_ender(bench: Bench, waits_for: str) -> None:
    await bench.bus.decisions.decide(Claim(execution_id=ONE, attempt=1, epoch="e", nonce="n", digest="d"))
    ender = Ender(bench.bus.decisions, bench.bus.streams, bench.view)
    async with bench.running(bench.make(), ender):
        await bench.ask(ONE)
        await bench.fail(ONE, due_in_seconds=600 if waits_for == "its pause" else 0.01)
        await bench.until(ONE, lambda row: row.attempt == 2 and (row.retry_at is None) is (waits_for == "a runner"))
        await bench.bus.decisions.decide(End(execution_id=ONE, reason="cancelled", requested_by="ana"))
        row = await bench.until(ONE, lambda row: row.status.is_terminal)
        await asyncio.sleep(0.1)
    assert (row.status, row.attempt, row.message, row.retry_at) == (Status.CANCELLED, 2, "Cancelled by ana", None)
    endings = [record for record in bench.bus.streams_.records[StreamName.LOG] if (record.message.id or "").endswith(":end")]
    assert len(endings) == 1


async def test_m8_m1_a_cancel_that_came_while_the_attempt_was_failing_ends_it_before_the_next_one(bench: Bench) -> None:
    await bench.bus.decisions.decide(Claim(execution_id=ONE, attempt=1, epoch="e", nonce="n", digest="d"))
    ender = Ender(bench.bus.decisions, bench.bus.streams, bench.view)
    async with bench.running(bench.make(), ender):
        await bench.ask(ONE)
        await bench.bus.decisions.decide(End(execution_id=ONE, reason="cancelled"))
        await asyncio.sleep(0.2)
        row = await bench.view.find(ONE)
        assert row is not None
        assert row.status is Status.QUEUED, "its owner may still end it"
        await bench.fail(ONE, due_in_seconds=0.01)
        row = await bench.until(ONE, lambda row: row.status.is_terminal)
    assert (row.status, row.attempt) == (Status.CANCELLED, 2)
    assert bench.queued() == []


async def test_m8_what_a_runner_has_claimed_is_not_queued_again(bench: Bench) -> None:
    await bench.bus.decisions.decide(Claim(execution_id=ONE, attempt=2, epoch="e", nonce="n", digest="d"))
    async with bench.running(bench.make()):
        await bench.ask(ONE)
        await bench.fail(ONE, due_in_seconds=0.01)
        await bench.until(ONE, lambda row: row.retry_at is not None)
        await asyncio.sleep(0.2)
    assert bench.queued() == []


async def test_m8_a_view_that_can_not_be_read_is_asked_again(bench: Bench) -> None:
    class Broken:
        failures = 2

        find = staticmethod(bench.view.find)

        async def to_retry(self, limit: int) -> list[ToRetry]:
            if self.failures:
                self.failures -= 1
                raise ViewUnavailable("not now") if self.failures else BusUnavailable("nor this")
            return await bench.view.to_retry(limit)

    await bench.ask(ONE)
    async with bench.running(bench.make(Broken())):
        await bench.fail(ONE, due_in_seconds=0.01)
        await bench.until_queued(1)


def test_m8_m11_an_attempt_that_was_lost_with_its_runner_is_followed_by_another_as_the_program_says(bench: Bench) -> None:
    row = Execution(execution_id=ONE, program_id="prog", status=Status.RUNNING, parameters={})
    lost = ended(ONE, Status.FAILED, reason=Reason.RUNNER_LOST, exit_code=None)

    event = ending_of(row, lost, bench.catalogue)
    assert isinstance(event.data, AttemptEnded)
    assert (event.data.reason, event.data.max_attempts, event.source) == (Reason.RUNNER_LOST, 4, "/hub")
    for other, fact in (
        (replace(row, parameters=None), lost),
        (replace(row, program_id="elsewhere"), lost),
        (row, ended(ONE, Status.FAILED, attempt=4, reason=Reason.RUNNER_LOST)),
    ):
        assert isinstance(ending_of(other, fact, bench.catalogue).data, Ended)


def test_m8_a_retry_is_no_word_for_strangers() -> None:
    body = json.dumps({"program_id": "p", "attempt": 2}).encode()

    assert not hasattr(parse_execute("x", body)[1], "attempt")
    assert parse_retry("x", body)[1].attempt == 2
