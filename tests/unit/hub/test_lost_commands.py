"""What nobody will run ends: its command expired, was handed out too often, or is gone. And nothing else does."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from bus.errors import BusUnavailable
from bus.messages import CANCELLED, COMMAND_LOST, Claim, DeadReason, End, Lease, Message, Source, StreamName
from hub.ender import Ender
from hub.lost_commands import LostCommands
from hub.view import View
from schemas.commands import parse_execute
from schemas.executions import Execution
from schemas.reasons import Category, Reason
from schemas.status import Status
from schemas.times import steady_now
from tests.support.dead_letter_fakes import FakeDeadLetters
from tests.support.memory_bus import MemoryBus
from tests.support.records import NOON, asked, numbered, running, told, uid
from tests.support.wait import eventually

ONE, TWO, THREE = uid(1), uid(2), uid(3)
#: Seconds of a pool's calm, in these tests.
CALM = 0.3


class Bench:
    """A bus, its dead letters, a runner's leases, a view that follows the log, and what the holder of the lock does."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.bus = MemoryBus()
        self.letters = FakeDeadLetters()
        #: What the runner says it has in hand; without one there is no runner.
        self.unsettled: int | None = 0
        self.has_runner = True

    def lost_commands(
        self, *, calm_seconds: float = CALM, lost_seconds: float = 3600.0, gap_seconds: float = 0.0, most_again: int = 0
    ) -> LostCommands:
        bus = self.bus
        return LostCommands(
            bus.commands,
            bus.decisions,
            bus.streams,
            bus.leases,
            self.letters,
            self.view,
            look_seconds=0.02,
            calm_seconds=calm_seconds,
            lost_seconds=lost_seconds,
            gap_seconds=gap_seconds,
            most_again=most_again,
        )

    @asynccontextmanager
    async def running(self, lost_commands: LostCommands | None = None, *, projecting: bool = True) -> AsyncIterator[None]:
        works = [
            (lost_commands or self.lost_commands()).run(),
            Ender(self.bus.decisions, self.bus.streams, self.view).run(),
            self._keep_lease(),
            *([self._project()] if projecting else []),
        ]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [asyncio.CancelledError] * len(tasks), results

    async def _keep_lease(self) -> None:
        while True:
            if self.has_runner and not self.bus.away:
                await self.bus.leases.keep(
                    Lease(
                        runner_id="r1",
                        epoch="e",
                        pool="default",
                        max_concurrent_executions=3,
                        started_at=NOON,
                        written_at=NOON,
                        unsettled=self.unsettled,
                    )
                )
            await asyncio.sleep(0.02)

    async def _project(self) -> None:
        async for batch in self.bus.streams.read(StreamName.LOG, await self.view.position(StreamName.LOG)):
            await self.view.apply_log(batch, keep_finished=1000)

    def log_only(self, execution_id: str, pool: str = "default", **fields: object) -> None:
        """The log has the command, and no queue."""
        message = Message(id=execution_id, body=json.dumps({"program_id": "prog", **fields}).encode())
        self.bus.streams_.record(StreamName.LOG, Source.COMMANDS, f"execute.{pool}", message)

    def dead(self, execution_id: str, reason: DeadReason) -> None:
        self.letters.put(b'{"program_id": "prog"}', message_id=execution_id, reason=reason)

    async def status(self, execution_id: str) -> Status | None:
        found = await self.view.find(execution_id)
        return None if found is None else found.status

    async def until(self, execution_id: str, status: Status) -> Execution:
        await eventually(lambda: self.status(execution_id), lambda seen: seen is status, within_seconds=10)
        found = await self.view.find(execution_id)
        assert found is not None
        return found


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    view = View(tmp_path / "view.db", readers=2, clock=steady_now)
    await view.open()
    yield Bench(view)
    await view.close()


def claim(execution_id: str) -> Claim:
    return Claim(execution_id=execution_id, attempt=1, epoch="e", nonce="n", digest="d")


async def test_what_expired_in_its_queue_ends_with_that_reason(bench: Bench) -> None:
    bench.log_only(ONE)
    bench.dead(ONE, DeadReason.EXPIRED)
    async with bench.running(bench.lost_commands(calm_seconds=3600)):
        execution = await bench.until(ONE, Status.FAILED)
    assert (execution.reason, execution.category) == (Reason.EXPIRED, Category.SYSTEM)
    assert execution.message == "No runner took it within 24 h, so it was not run."


async def test_what_was_handed_out_too_often_ends_as_lost_and_says_so(bench: Bench) -> None:
    bench.log_only(ONE)
    bench.dead(ONE, DeadReason.DELIVERY_LIMIT)
    async with bench.running(bench.lost_commands(calm_seconds=3600)):
        execution = await bench.until(ONE, Status.FAILED)
    assert execution.reason is Reason.COMMAND_LOST
    assert "too often" in (execution.message or "")


async def test_a_dead_letter_that_is_ahead_of_the_view_is_remembered_until_the_view_has_come_there(bench: Bench) -> None:
    async with bench.running(bench.lost_commands(calm_seconds=3600)):
        bench.dead(ONE, DeadReason.EXPIRED)
        await asyncio.sleep(0.1)
        bench.log_only(ONE)
        await bench.until(ONE, Status.FAILED)


@pytest.mark.parametrize("reason", [DeadReason.MALFORMED, DeadReason.OTHER])
async def test_a_dead_letter_that_is_no_execution_ends_nothing(bench: Bench, reason: DeadReason) -> None:
    bench.log_only(ONE)
    bench.dead(ONE, reason)
    bench.letters.put(b"garbage", message_id=None, reason=DeadReason.EXPIRED)
    async with bench.running(bench.lost_commands(calm_seconds=3600)):
        await bench.until(ONE, Status.QUEUED)
        await asyncio.sleep(0.15)
    assert bench.bus.decisions_.proposed == []


@pytest.mark.parametrize("reason", [DeadReason.EXPIRED, DeadReason.DELIVERY_LIMIT])
async def test_a_dead_letter_of_what_a_runner_has_claimed_ends_nothing(bench: Bench, reason: DeadReason) -> None:
    await bench.bus.decisions.decide(claim(ONE))
    bench.log_only(ONE)
    bench.dead(ONE, reason)
    bench.log_only(TWO)
    bench.dead(TWO, reason)
    async with bench.running(bench.lost_commands(calm_seconds=3600)):
        await bench.until(TWO, Status.FAILED)
        await asyncio.sleep(0.1)
    assert await bench.status(ONE) is Status.QUEUED
    assert [end.execution_id for end in bench.bus.decisions_.proposed if isinstance(end, End)] == [TWO]


async def test_what_the_log_has_and_no_queue_is_lost_once_its_pool_was_calm_for_long_enough(bench: Bench) -> None:
    bench.log_only(ONE)
    started = asyncio.get_running_loop().time()
    async with bench.running():
        execution = await bench.until(ONE, Status.FAILED)
    assert asyncio.get_running_loop().time() - started >= CALM
    assert (execution.reason, execution.category) == (Reason.COMMAND_LOST, Category.SYSTEM)
    assert "not in the queue any more" in (execution.message or "")


async def test_fault4_what_is_gone_from_its_queue_is_published_again_and_lost_only_when_it_is_gone_again(bench: Bench) -> None:
    bench.log_only(ONE, parameters={"name": "Temis"})
    async with bench.running(bench.lost_commands(most_again=10)):
        again = await asyncio.wait_for(bench.bus.commands.take("default", 1), 10)
        assert again.message.id == ONE
        assert parse_execute(ONE, again.message.body)[1].parameters == {"name": "Temis"}
        # It has the whole time before it once more, and then whoever took it has lost it too.
        assert await bench.status(ONE) is Status.QUEUED
        await again.done()
        began = asyncio.get_running_loop().time()
        execution = await bench.until(ONE, Status.FAILED)
        assert asyncio.get_running_loop().time() - began >= CALM / 2
    assert execution.reason is Reason.COMMAND_LOST
    assert await bench.bus.commands.waiting("default") == 0


async def test_fault4_of_many_that_are_gone_as_many_are_published_again_as_may_be_and_the_others_in_their_turn(
    bench: Bench,
) -> None:
    for number in range(1, 6):
        bench.log_only(uid(number))
    taken: list[str | None] = []
    async with bench.running(bench.lost_commands(most_again=2)):
        while len(taken) < 5:
            delivery = await asyncio.wait_for(bench.bus.commands.take("default", 1), 10)
            taken.append(delivery.message.id)
            await bench.bus.decisions.decide(claim(delivery.message.id or ""))
            await delivery.done()
    assert sorted(taken, key=str) == [uid(number) for number in range(1, 6)]
    assert not [end for end in bench.bus.decisions_.proposed if isinstance(end, End)]


async def test_a_command_that_is_not_known_any_more_is_not_published_again(bench: Bench) -> None:
    await bench.view.apply_log(numbered(asked(ONE)), keep_finished=10)
    bench.view._writer.execute("UPDATE executions SET digest = 'of another one'")  # type: ignore[union-attr]
    async with bench.running(bench.lost_commands(most_again=10), projecting=False):
        await eventually(lambda: asyncio.sleep(0, len(bench.bus.decisions_.proposed) == 1), within_seconds=10)
    assert await bench.bus.commands.waiting("default") == 0


@pytest.mark.parametrize("why", ["something waits", "in hand", "does not say", "no runner", "another pool", "count unknown"])
async def test_nothing_is_lost_while_its_command_may_be_somewhere(bench: Bench, why: str) -> None:
    if why == "something waits":
        await bench.bus.commands.accept("default", asked(TWO).message)
    bench.log_only(ONE, pool="other" if why == "another pool" else "default")
    bench.unsettled = {"in hand": 1, "does not say": None}.get(why, 0)
    bench.has_runner = why != "no runner"
    if why == "count unknown":

        async def unknown(pool: str) -> int:
            raise BusUnavailable(f"nobody says how much waits in {pool}")

        bench.bus.commands_.waiting = unknown  # type: ignore[method-assign]
    async with bench.running():
        await bench.until(ONE, Status.QUEUED)
        await asyncio.sleep(3 * CALM)
    assert bench.bus.decisions_.proposed == []


async def test_what_a_runner_has_claimed_is_not_lost_however_long_it_prepares(bench: Bench) -> None:
    await bench.bus.decisions.decide(claim(ONE))
    bench.log_only(ONE)
    bench.log_only(TWO)
    async with bench.running(bench.lost_commands(lost_seconds=0.1)):
        await bench.until(TWO, Status.FAILED)
        await asyncio.sleep(CALM)
    assert await bench.status(ONE) is Status.QUEUED


async def test_what_comes_while_a_pool_is_calm_has_the_whole_time_before_it(bench: Bench) -> None:
    async with bench.running():
        bench.log_only(ONE)
        await bench.until(ONE, Status.FAILED)
        bench.log_only(TWO)
        await bench.until(TWO, Status.QUEUED)
        await asyncio.sleep(CALM / 2)
        assert await bench.status(TWO) is Status.QUEUED
        await bench.until(TWO, Status.FAILED)


async def test_m8_a_further_attempt_is_lost_when_it_is_old_and_not_while_it_waits_for_its_pause(bench: Bench) -> None:
    """Of the two that are at their second attempt one waits for its pause, the other in a queue that has lost it."""
    await bench.view.apply_log(numbered(asked(ONE), asked(TWO)), keep_finished=10)
    for execution_id, retry_at in ((ONE, "2024-01-01T00:00:00.000000+00:00"), (TWO, None)):
        bench.view._writer.execute(  # type: ignore[union-attr]
            "UPDATE executions SET attempt = 2, retry_at = ? WHERE execution_id = ?", (retry_at, execution_id)
        )
    async with bench.running(bench.lost_commands(lost_seconds=1.5), projecting=False):
        await asyncio.sleep(3 * CALM)
        assert bench.bus.decisions_.proposed == []
        await eventually(lambda: asyncio.sleep(0, len(bench.bus.decisions_.proposed) == 1), within_seconds=20)
        await asyncio.sleep(0.2)
    assert [proposal.execution_id for proposal in bench.bus.decisions_.proposed] == [TWO]


async def test_what_is_queued_for_longer_than_its_command_can_live_is_lost_whatever_else_waits(bench: Bench) -> None:
    await bench.bus.commands.accept("default", asked(ONE).message)
    bench.has_runner = False
    async with bench.running(bench.lost_commands(lost_seconds=0.3)):
        execution = await bench.until(ONE, Status.FAILED)
    assert execution.reason is Reason.COMMAND_LOST


async def test_a_time_that_a_publisher_made_up_makes_nothing_old(bench: Bench) -> None:
    long_ago = (NOON - timedelta(days=400)).isoformat()
    await bench.bus.commands.accept("default", asked(ONE, accepted_at=long_ago).message)
    async with bench.running(bench.lost_commands(lost_seconds=60)):
        await bench.until(ONE, Status.QUEUED)
        await asyncio.sleep(0.2)
    assert bench.bus.decisions_.proposed == []


async def test_what_was_sent_to_two_pools_is_lost_only_when_it_is_old(bench: Bench) -> None:
    bench.log_only(ONE)
    bench.log_only(ONE, pool="other")
    async with bench.running():
        await bench.until(ONE, Status.QUEUED)
        await asyncio.sleep(2 * CALM)
        assert bench.bus.decisions_.proposed == []
    async with bench.running(bench.lost_commands(lost_seconds=0.1)):
        await bench.until(ONE, Status.FAILED)


async def test_what_runs_has_ended_or_was_cancelled_is_not_looked_at(bench: Bench) -> None:
    for execution_id in (ONE, TWO):
        bench.log_only(execution_id)
    bench.bus.streams_.record(StreamName.LOG, Source.REPORTS, "execution.running.prog", told(running(ONE)).message)
    await bench.bus.decisions.decide(End(execution_id=TWO, reason=CANCELLED, requested_by="ana"))
    async with bench.running(bench.lost_commands(lost_seconds=0.1)):
        assert (await bench.until(TWO, Status.CANCELLED)).message == "Cancelled by ana"
        await asyncio.sleep(0.2)
    assert await bench.status(ONE) is Status.RUNNING
    assert not [end for end in bench.bus.decisions_.proposed if isinstance(end, End) and end.reason == COMMAND_LOST]


async def test_three_thousand_that_are_lost_at_once_all_end_and_are_never_held_all_at_once(bench: Bench) -> None:
    """The ender waits for a thousand at a time here; the other two thousand are not given up for it."""
    ids = [uid(number) for number in range(1, 3001)]
    await bench.view.apply_log(numbered(*(asked(execution_id) for execution_id in ids)), keep_finished=5000)
    for record in numbered(*(asked(execution_id) for execution_id in ids)):
        bench.bus.streams_.record(StreamName.LOG, Source.COMMANDS, "execute.default", record.message)
    lost = bench.lost_commands(lost_seconds=0.0, calm_seconds=3600)
    ender = Ender(bench.bus.decisions, bench.bus.streams, bench.view, most_waiting=1000)
    tasks = [asyncio.create_task(work) for work in (lost.run(), ender.run(), bench._project())]

    async def queued() -> int:
        return (await bench.view.statistics()).by_status[Status.QUEUED].get("prog", 0)

    await eventually(queued, lambda count: count == 0, within_seconds=60)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (await bench.view.statistics()).by_status[Status.FAILED] == {"prog": 3000}


async def test_the_bus_may_come_and_go(bench: Bench) -> None:
    bench.log_only(ONE)
    bench.bus.away = True
    async with bench.running():
        await asyncio.sleep(2 * CALM)
        bench.bus.away = False
        await bench.until(ONE, Status.FAILED)


async def test_nothing_is_lost_by_a_view_that_is_behind_the_log(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that is made anew shows as queued what has run for days, and whose claim nobody remembers any more."""
    monkeypatch.setattr("hub.lost_commands._CATCH_UP_SECONDS", 0.2)
    bench.log_only(ONE)
    await bench.view.apply_log(list(bench.bus.streams_.records[StreamName.LOG]), keep_finished=10)
    bench.bus.streams_.record(StreamName.LOG, Source.REPORTS, "execution.running.prog", told(running(ONE)).message)
    bench.dead(ONE, DeadReason.EXPIRED)
    async with bench.running(bench.lost_commands(lost_seconds=0.1), projecting=False):
        await asyncio.sleep(1)
    assert bench.bus.decisions_.proposed == []


async def test_bus6_after_a_gap_in_the_decisions_their_owners_have_time_to_claim_again(bench: Bench) -> None:
    await bench.bus.decisions.decide(claim(ONE))
    bench.log_only(ONE)
    async with bench.running(bench.lost_commands(lost_seconds=0.1, gap_seconds=2)):
        await bench.until(ONE, Status.QUEUED)
        await asyncio.sleep(0.8)
        bench.bus.decisions_.forget()
        await asyncio.sleep(0.3)
        await bench.bus.decisions.decide(claim(ONE))
        await asyncio.sleep(2.2)
    assert not [end for end in bench.bus.decisions_.proposed if isinstance(end, End)]
