"""The announcer: what the fold accepted, in order, to everybody."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from bus.messages import Announcement, Position, Record, StreamName
from gateway.errors import ViewUnavailable
from hub.announcer import Announcer
from hub.transitions import StoredTransition
from hub.view import View
from schemas.cloud_events import CONTENT_TYPE
from schemas.events import parse_event
from schemas.status import Status
from tests.support.hub_bus import FakeAnnouncements, FakeHolder
from tests.support.records import NOON, asked, ended, numbered, running, told, uid
from tests.support.wait import eventually

ONE, TWO = uid(1), uid(2)


class Bench:
    """A view with transitions, and announcers on one bus."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.bus = FakeAnnouncements()
        self.announcer = Announcer(self.bus, view)
        self._offset = 0

    async def fold_in(self, *records: Record) -> None:
        await self.view.apply_log(numbered(*records, start=self._offset), keep_finished=1000)
        self._offset += len(records)
        self.announcer.wake()

    @asynccontextmanager
    async def announcing(self, announcer: Announcer | None = None) -> AsyncIterator[None]:
        task = asyncio.create_task((announcer or self.announcer).run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until_position(self, position: int) -> None:
        async def look() -> int | None:
            return self.bus.position

        await eventually(look, lambda seen: seen == position, within_seconds=20)

    async def until_announced(self, count: int) -> None:
        async def look() -> list[str | None]:
            return self.ids

        await eventually(look, lambda ids: len(ids) == count, within_seconds=5)

    @property
    def ids(self) -> list[str | None]:
        return [announcement.message.id for announcement in self.bus.announced]


@pytest.fixture
def bench(view: View) -> Bench:
    return Bench(view)


async def test_subscribers_get_queued_running_and_the_ending_once_each_and_in_that_order(bench: Bench) -> None:
    """E6"""
    async with bench.announcing():
        await bench.fold_in(asked(ONE), told(running(ONE)))
        await bench.fold_in(told(ended(ONE)), told(ended(ONE)), told(ended(ONE, Status.FAILED)))
        await bench.until_position(2)

    assert [announcement.key for announcement in bench.bus.announced] == [
        "execution.queued.prog",
        "execution.running.prog",
        "execution.completed.prog",
    ]
    assert bench.ids == [f"{ONE}:1:0", f"{ONE}:1:1", f"{ONE}:end"]
    last = bench.bus.announced[-1].message
    assert parse_event(last.body).data.status is Status.COMPLETED
    assert (last.content_type, last.timestamp) == (CONTENT_TYPE, parse_event(last.body).time)
    assert last.timestamp is not None
    assert last.timestamp > NOON


async def test_it_starts_with_the_first_transition_where_nobody_has_announced_yet(bench: Bench) -> None:
    await bench.fold_in(asked(ONE), told(running(ONE)))

    async with bench.announcing():
        await bench.until_position(1)

    assert len(bench.bus.announced) == 2


async def test_what_is_about_different_executions_goes_out_together_and_what_is_about_one_in_its_order(bench: Bench) -> None:
    await bench.fold_in(asked(ONE), asked(TWO), told(running(ONE)), told(ended(ONE)), told(running(TWO)))

    async with bench.announcing():
        await bench.until_position(4)

    assert bench.bus.waves == [[f"{ONE}:1:0", f"{TWO}:1:0"], [f"{ONE}:1:1"], [f"{ONE}:end", f"{TWO}:1:1"]]


async def test_no_more_than_a_few_dozen_go_out_together(bench: Bench) -> None:
    await bench.fold_in(*(asked(uid(number)) for number in range(150)))

    async with bench.announcing():
        await bench.until_position(149)

    assert [len(wave) for wave in bench.bus.waves] == [64, 64, 22]


async def test_it_goes_on_after_the_checkpoint(bench: Bench) -> None:
    await bench.fold_in(asked(ONE), told(running(ONE)), told(ended(ONE)))
    bench.bus.position = 1

    async with bench.announcing():
        await bench.until_position(2)

    assert bench.ids == [f"{ONE}:end"]


async def test_under_load_the_checkpoint_moves_once_a_batch(bench: Bench) -> None:
    await bench.fold_in(*(asked(uid(number)) for number in range(500)))

    async with bench.announcing():
        await bench.until_position(499)

    assert bench.ids == [f"{uid(number)}:1:0" for number in range(500)]
    assert bench.bus.advances == [199, 399, 499]


@pytest.mark.parametrize("queue", ["reply.ada", "amq.gen-JzTY20BRgKO-HjmUJj0wLg", "amq.rabbitmq.reply-to.g1h2"])
async def test_the_ending_answers_who_asked_and_nobody_else_sees_the_word_they_sent(bench: Bench, queue: str) -> None:
    async with bench.announcing():
        await bench.fold_in(asked(ONE, reply_to=queue, correlation_id="42"), told(running(ONE)), told(ended(ONE)))
        await bench.until_position(2)

    ((name, reply),) = bench.bus.replies
    assert (name, reply.correlation_id, reply.id) == (queue, "42", f"{ONE}:end")
    assert reply.body == bench.bus.announced[-1].message.body
    assert [announcement.message.correlation_id for announcement in bench.bus.announced] == [None, None, None]


@pytest.mark.parametrize("queue", ["hub.work.default", "hub.announcer", "", "replys", "AMQ.x"])
async def test_a_reply_goes_to_no_queue_that_may_be_somebody_elses(bench: Bench, queue: str) -> None:
    async with bench.announcing():
        await bench.fold_in(asked(ONE, reply_to=queue), told(ended(ONE)))
        await bench.until_position(1)

    assert bench.bus.replies == []


async def test_a_lost_lock_is_held_again_and_nothing_is_left_out(bench: Bench) -> None:
    """What was announced after the last checkpoint comes twice, with the same id."""
    await bench.fold_in(*(asked(uid(number)) for number in range(5)))
    # Lost after three announcements; then at the checkpoint itself; then held for good.
    bench.bus.lives = [3, 5]

    async with bench.announcing():
        await bench.until_position(4)

    every = [f"{uid(number)}:1:0" for number in range(5)]
    assert bench.ids == every[:3] + every + every
    assert bench.bus.advances == [4]
    assert bench.bus.holds == 3


async def test_a_lock_that_was_lost_while_nothing_happened_is_noticed_at_the_next_event(bench: Bench) -> None:
    bench.bus.lives = [0]
    async with bench.announcing():
        await asyncio.sleep(0.02)
        await bench.fold_in(asked(ONE))
        await bench.until_position(0)

    assert bench.ids == [f"{ONE}:1:0"]


async def test_a_second_announcer_waits_and_takes_over(bench: Bench) -> None:
    second = Announcer(bench.bus, bench.view)
    async with bench.announcing(second):
        async with bench.announcing():
            await bench.fold_in(asked(ONE))
            second.wake()
            await bench.until_position(0)
            assert bench.bus.holds == 1
            await bench.fold_in(told(running(ONE)))
            second.wake()
            await bench.until_position(1)
        await bench.fold_in(told(ended(ONE)))
        second.wake()
        await bench.until_position(2)

    assert bench.ids == [f"{ONE}:1:0", f"{ONE}:1:1", f"{ONE}:end"]


async def test_old_transitions_are_trimmed_behind_the_checkpoint_and_never_before_it(bench: Bench) -> None:
    bench.announcer = Announcer(bench.bus, bench.view, kept_behind=100)
    await bench.fold_in(*(asked(uid(number)) for number in range(2500)))

    async with bench.announcing():
        await bench.until_position(2499)

    kept = [transition.offset for transition in await bench.view.transitions_after(None, 5000)]
    assert kept[-1] == 2499
    # A thousand places at most between two trimmings.
    assert 2499 - 100 - 1000 - 200 <= kept[0] <= 2499 - 100


class BrokenTransitions:
    """A view that can't be read for a while."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.broken = True

    async def transitions_after(self, position: int | None, limit: int) -> list[StoredTransition]:
        if self.broken:
            raise ViewUnavailable("the disk is gone")
        return await self._view.transitions_after(position, limit)

    async def position(self, stream: StreamName) -> Position | None:
        raise NotImplementedError

    async def trim_transitions(self, before: int) -> None:
        raise NotImplementedError


async def test_a_view_that_can_not_be_read_is_reported_until_it_can(bench: Bench) -> None:
    transitions = BrokenTransitions(bench.view)
    bench.announcer = Announcer(bench.bus, transitions)
    await bench.fold_in(asked(ONE))

    async def problem() -> str | None:
        return bench.announcer.problem

    async with bench.announcing():
        assert await eventually(problem) == "the disk is gone"
        transitions.broken = False
        await bench.until_position(0)
        assert bench.announcer.problem is None


async def test_bus6_after_the_log_was_replaced_the_new_one_is_announced_from_its_first_record(bench: Bench) -> None:
    async with bench.announcing():
        await bench.fold_in(asked(ONE), told(running(ONE)))
        await bench.until_position(1)
        await bench.view.begin_anew(StreamName.LOG)
        bench.announcer.begin_anew()
        bench._offset = 0
        await bench.fold_in(told(ended(ONE)))
        await bench.until_position(0)
    assert bench.ids == [f"{ONE}:1:0", f"{ONE}:1:1", f"{ONE}:end"]


async def test_bus6_a_checkpoint_beyond_the_end_of_the_log_is_one_of_another_log(bench: Bench) -> None:
    """A gateway with an empty view takes the lock, and with it a checkpoint of a log that is gone."""
    bench.bus.position = 700

    async def log_end() -> int | None:
        return bench._offset - 1 if bench._offset else None

    bench.announcer = Announcer(bench.bus, bench.view, log_end=log_end)
    async with bench.announcing():
        await asyncio.sleep(0.05)
        await bench.fold_in(asked(ONE))
        await bench.until_position(0)
    assert bench.ids == [f"{ONE}:1:0"]


async def test_a_view_that_is_behind_the_checkpoint_announces_nothing_again(bench: Bench) -> None:
    bench.bus.position = 1

    async def log_end() -> int | None:
        return 2

    bench.announcer = Announcer(bench.bus, bench.view, log_end=log_end)
    async with bench.announcing():
        await bench.fold_in(asked(ONE), told(running(ONE)), told(ended(ONE)))
        await bench.until_position(2)
    assert bench.ids == [f"{ONE}:end"]


async def test_bus6_what_the_view_has_of_the_other_log_is_not_announced_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.announcer._LOOK_SECONDS", 0.02)
    await bench.fold_in(asked(ONE), told(running(ONE)))
    bench.bus.position = 1

    async def log_end() -> int | None:
        return 0

    bench.announcer = Announcer(bench.bus, bench.view, log_end=log_end)
    async with bench.announcing():
        await asyncio.sleep(0.1)
        assert bench.ids == []
        await bench.view.begin_anew(StreamName.LOG)
        bench.announcer.begin_anew()
        bench._offset = 0
        await bench.fold_in(asked(TWO))
        await bench.until_position(0)
    assert bench.ids == [f"{TWO}:1:0"]


async def test_announcements_do_not_wait_for_the_checkpoint_which_moves_for_several_of_them(bench: Bench) -> None:
    announcer = Announcer(bench.bus, bench.view, advance_seconds=3600)

    async with bench.announcing(announcer):
        for number in range(3):
            await bench.fold_in(asked(uid(number)))
            announcer.wake()
            await bench.until_announced(number + 1)
        assert bench.bus.advances == []
    assert bench.bus.advances == [2]


async def test_an_announcer_that_stops_in_order_leaves_nothing_to_be_repeated(bench: Bench) -> None:
    announcer = Announcer(bench.bus, bench.view, advance_seconds=3600)
    async with bench.announcing(announcer):
        for number in range(3):
            await bench.fold_in(asked(uid(number)))
            announcer.wake()
            await bench.until_announced(number + 1)
    async with bench.announcing():
        await bench.fold_in(asked(uid(3)))
        await bench.until_position(3)
    assert bench.ids == [f"{uid(number)}:1:0" for number in range(4)]


async def test_what_is_being_announced_as_it_stops_is_not_announced_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce_all, is_out, may_confirm = FakeHolder.announce_all, asyncio.Event(), asyncio.Event()

    async def confirmed_late(holder: FakeHolder, announcements: Sequence[Announcement]) -> None:
        await announce_all(holder, announcements)
        is_out.set()
        await may_confirm.wait()

    monkeypatch.setattr(FakeHolder, "announce_all", confirmed_late)
    async with bench.announcing():
        await bench.fold_in(asked(ONE))
        await is_out.wait()
        asyncio.get_running_loop().call_later(0.05, may_confirm.set)
    async with bench.announcing():
        await bench.fold_in(asked(TWO))
        await bench.until_position(1)
    assert bench.ids == [f"{ONE}:1:0", f"{TWO}:1:0"]


async def test_a_checkpoint_that_is_due_moves_though_nothing_more_comes(bench: Bench) -> None:
    announcer = Announcer(bench.bus, bench.view, advance_seconds=0.05)
    async with bench.announcing(announcer):
        await bench.fold_in(asked(ONE))
        announcer.wake()
        await bench.until_position(0)
