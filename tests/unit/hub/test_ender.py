"""The ender: whatever was decided to end before a runner took it has its one terminal event in the log."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from bus.messages import Claim, End, Record, StreamName
from gateway.errors import ViewUnavailable
from hub.announcer import Announcer
from hub.ender import Ender, terminal_event
from hub.view import View
from schemas.events import Ended, parse_event
from schemas.executions import Execution
from schemas.reasons import Category, Reason
from schemas.status import Status
from tests.support.hub_bus import FakeAnnouncements
from tests.support.memory_bus import MemoryBus
from tests.support.records import asked, ended, numbered, told, uid
from tests.support.wait import eventually

ONE, TWO = uid(1), uid(2)


def end_of(execution_id: str, **fields: str) -> End:
    return End(**{"execution_id": execution_id, "reason": "cancelled", "requested_by": "ana", "why": "no more"} | fields)


class Bench:
    """A bus, a view that a projector fills from its log, and enders."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.bus = MemoryBus()

    def make(self, *, most_waiting: int = 100) -> Ender:
        return Ender(self.bus.decisions, self.bus.streams, self.view, most_waiting=most_waiting)

    @asynccontextmanager
    async def running(self, *enders: Ender, projecting: bool = True) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(ender.run()) for ender in enders]
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

    async def ask(self, execution_id: str, **fields: Any) -> None:
        record = asked(execution_id, **fields)
        await self.bus.commands.accept("default", record.message)

    async def status(self, execution_id: str) -> Status | None:
        found = await self.view.find(execution_id)
        return None if found is None else found.status

    async def until(self, execution_id: str, status: Status) -> Execution:
        await eventually(lambda: self.status(execution_id), lambda seen: seen is status, within_seconds=20)
        found = await self.view.find(execution_id)
        assert found is not None
        return found

    @property
    def endings(self) -> list[Record]:
        return [record for record in self.bus.streams_.records[StreamName.LOG] if (record.message.id or "").endswith(":end")]


@pytest.fixture
def bench(view: View) -> Bench:
    return Bench(view)


async def test_what_is_cancelled_while_it_is_queued_ends_with_who_and_why_m1(bench: Bench) -> None:
    async with bench.running(bench.make()):
        await bench.ask(ONE, submitted_by="bea")
        await bench.until(ONE, Status.QUEUED)
        await bench.bus.decisions.decide(end_of(ONE))
        execution = await bench.until(ONE, Status.CANCELLED)
        await asyncio.sleep(0.2)
    told = (execution.reason, execution.category, execution.message, execution.submitted_by)
    assert told == (Reason.CANCELLED, Category.EXECUTION, "Cancelled by ana: no more", "bea")
    assert (execution.started_at, execution.exit_code, execution.ended_at is not None) == (None, None, True)
    (record,) = bench.endings
    assert (record.message.id, record.key) == (f"{ONE}:end", "execution.cancelled.prog")


async def test_m2_what_was_cancelled_while_no_gateway_was_there_ends_when_one_is(bench: Bench) -> None:
    await bench.ask(ONE)
    await bench.bus.decisions.decide(end_of(ONE))
    async with bench.running(bench.make()):
        await bench.until(ONE, Status.CANCELLED)
    async with bench.running(bench.make()):
        await asyncio.sleep(0.2)
    assert len(bench.endings) == 1, "the next one sees it in the view"


async def test_any_end_that_is_the_decision_ends_as_cancelled(bench: Bench) -> None:
    async with bench.running(bench.make()):
        await bench.ask(ONE)
        await bench.bus.decisions.decide(End(execution_id=ONE, reason="unconfirmed"))
        assert (await bench.until(ONE, Status.CANCELLED)).message == "Cancelled: unconfirmed"


async def test_what_the_view_shows_as_ended_is_not_waited_for(bench: Bench) -> None:
    async with bench.running(bench.make(most_waiting=1)):
        await bench.ask(TWO)
        await bench.ask(ONE)
        await bench.bus.decisions.decide(end_of(TWO))
        await bench.until(TWO, Status.CANCELLED)
    # A cancel that came after its end, or is read again at the next start, pushes nothing out that is still needed.
    waiting = uid(9)
    first_ends = bench.bus.decisions_.first_ends
    first_ends.clear()
    async with bench.running(bench.make(most_waiting=1)):
        await bench.bus.decisions.decide(end_of(waiting))
        await bench.bus.decisions.decide(end_of(TWO))
        await asyncio.sleep(0.2)
        await bench.ask(waiting)
        await bench.until(waiting, Status.CANCELLED)


async def test_at_a_start_the_view_is_asked_for_many_old_ends_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[int] = []
    find_all = bench.view.find_all

    async def counted(execution_ids: Iterable[str]) -> list[Execution]:
        ids = list(execution_ids)
        asked_for.append(len(ids))
        return await find_all(ids)

    many = [uid(number) for number in range(100, 1_100)]
    for execution_id in many:
        await bench.bus.decisions.decide(end_of(execution_id))
    records = [told(ended(execution_id, Status.CANCELLED)) for execution_id in many]
    await bench.view.apply_log(numbered(*records), keep_finished=10_000)
    monkeypatch.setattr(bench.view, "find_all", counted)
    async with bench.running(bench.make(), projecting=False):
        await eventually(lambda: asyncio.sleep(0, sum(asked_for)), lambda seen: seen >= len(many))
    assert len(asked_for) < 20


async def test_where_a_claim_came_first_its_owner_ends_the_execution(bench: Bench) -> None:
    async with bench.running(bench.make()):
        for execution_id in (ONE, TWO):
            await bench.ask(execution_id)
        await bench.bus.decisions.decide(Claim(execution_id=ONE, attempt=1, epoch="e", nonce="n", digest="d"))
        await bench.bus.decisions.decide(end_of(ONE))
        await bench.bus.decisions.decide(end_of(TWO))
        await bench.until(TWO, Status.CANCELLED)
    assert await bench.status(ONE) is Status.QUEUED
    assert len(bench.endings) == 1


async def test_a_cancel_of_what_nobody_asked_for_makes_no_execution_and_stands_for_its_command(bench: Bench) -> None:
    async with bench.running(bench.make()):
        await bench.bus.decisions.decide(end_of(ONE))
        await asyncio.sleep(0.2)
        assert (bench.endings, await bench.status(ONE)) == ([], None)
        await bench.ask(ONE)
        await bench.until(ONE, Status.CANCELLED)


async def test_the_oldest_cancels_of_unknown_executions_are_given_up_and_come_again_at_the_next_start(bench: Bench) -> None:
    async with bench.running(bench.make(most_waiting=3)):
        with capture_logs() as lines:
            for number in range(1, 6):
                await bench.bus.decisions.decide(end_of(uid(number)))

            async def given_up() -> list[str]:
                return [line["execution_id"] for line in lines if line["action"] == "ender_full"]

            await eventually(given_up, lambda ids: ids == [uid(1), uid(2)])
        await bench.ask(uid(1))
        await bench.ask(uid(5))
        await bench.until(uid(5), Status.CANCELLED)
    assert await bench.status(uid(1)) is Status.QUEUED
    async with bench.running(bench.make()):
        await bench.until(uid(1), Status.CANCELLED)


async def test_two_gateways_that_both_write_leave_one_ending(bench: Bench) -> None:
    async with bench.running(bench.make(), bench.make()):
        await bench.ask(ONE)
        await bench.bus.decisions.decide(end_of(ONE))
        await bench.until(ONE, Status.CANCELLED)
        await asyncio.sleep(0.2)
    assert {record.message.id for record in bench.endings} == {f"{ONE}:end"}
    totals = (await bench.view.statistics()).by_status
    assert totals[Status.CANCELLED] == {"prog": 1}


async def test_bus_and_view_may_come_and_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.ask(ONE)
    await bench.bus.decisions.decide(end_of(ONE))
    find_all, failures = bench.view.find_all, 2

    async def flaky(execution_ids: list[str]) -> list[Execution]:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ViewUnavailable("locked")
        return await find_all(execution_ids)

    monkeypatch.setattr(bench.view, "find_all", flaky)
    bench.bus.away = True
    async with bench.running(bench.make()):
        await eventually(lambda: asyncio.sleep(0, failures < 0), within_seconds=10)
        assert bench.endings == []
        bench.bus.away = False
        await bench.until(ONE, Status.CANCELLED)


async def test_what_the_view_does_not_show_is_written_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.ender._WRITE_AGAIN_SECONDS", 0.1)
    await bench.view.apply_log(numbered(asked(ONE)), keep_finished=10)
    await bench.bus.decisions.decide(end_of(ONE))
    async with bench.running(bench.make(), projecting=False):
        await eventually(lambda: asyncio.sleep(0, len(bench.endings) >= 2))


async def test_a_program_id_that_is_none_has_a_key_all_the_same(bench: Bench) -> None:
    event = terminal_event(Execution(execution_id=ONE, program_id="no id!", status=Status.QUEUED), end_of(ONE))
    parsed = parse_event(event.to_bytes())
    assert isinstance(parsed.data, Ended)
    assert parsed.routing_key == "execution.cancelled.unknown"


async def test_the_holder_of_the_lock_does_its_duty_until_it_loses_it(view: View) -> None:
    lock = FakeAnnouncements(lives=[0])
    begun: list[str] = []

    async def duty() -> None:
        begun.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            begun.append("ended")

    announcer = Announcer(lock, view, duty=duty)
    running = asyncio.create_task(announcer.run())
    await eventually(lambda: asyncio.sleep(0, begun == ["begun"]))
    await view.apply_log(numbered(asked(ONE)), keep_finished=10)
    announcer.wake()  # the first call of the holder finds the lock lost
    await eventually(lambda: asyncio.sleep(0, begun == ["begun", "ended", "begun"]))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert begun == ["begun", "ended"] * 2


async def test_a_duty_that_dies_is_not_hidden(view: View) -> None:
    async def duty() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(Announcer(FakeAnnouncements(), view, duty=duty).run(), 5)
