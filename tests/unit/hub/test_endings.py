"""Waiting for endings."""

import asyncio
import time

import pytest

from bus.messages import Record
from gateway.ports import Endings as Port
from gateway.ports import View as ViewPort
from hub.endings import Endings
from hub.view import View
from schemas.output import StreamSummary
from schemas.status import Status
from tests.support.records import asked, chunk, ended, in_chunks, numbered, running, told, uid
from tests.support.wait import eventually

ONE, TWO = uid(1), uid(2)


class Desk:
    """A view and its endings, and a projector's part by hand."""

    def __init__(self, view: View, *, max_waits: int = 10, grace: float = 5.0) -> None:
        self.view = view
        self.endings = Endings(view, max_waits=max_waits, output_grace_seconds=grace)
        self._offset = 0
        self._output_offset = 0

    async def fold_in(self, *records: Record) -> None:
        applied = await self.view.apply_log(numbered(*records, start=self._offset), keep_finished=100)
        self._offset += len(records)
        self.endings.wake(applied.changed, ended=applied.ended, complete=applied.complete)

    async def pour(self, *records: Record) -> None:
        applied = await self.view.apply_output(numbered(*records, start=self._output_offset))
        self._output_offset += len(records)
        self.endings.wake(applied.executions)


@pytest.fixture
def desk(view: View) -> Desk:
    return Desk(view)


async def waiting(desk: Desk, execution_id: str, seconds: float = 10) -> asyncio.Task[bool]:
    """A wait that has looked once and found nothing."""
    task = asyncio.create_task(desk.endings.wait(execution_id, seconds))
    await asyncio.sleep(0.05)
    assert not task.done()
    return task


def test_view_and_endings_are_what_the_gateway_asks_for(view: View) -> None:
    view_port: ViewPort = view
    port: Port = Endings(view)

    assert view_port is view
    assert port


async def test_what_has_ended_already_is_answered_at_once_even_with_no_time_to_wait(desk: Desk) -> None:
    await desk.fold_in(asked(ONE), told(ended(ONE, Status.TIMEOUT)))

    assert await desk.endings.wait(ONE, 0) is True
    assert await desk.endings.wait(TWO, 0) is False


async def test_a_wait_is_answered_as_the_view_shows_the_ending(desk: Desk) -> None:
    wait = await waiting(desk, ONE)
    await desk.fold_in(asked(ONE), told(running(ONE)))
    await asyncio.sleep(0.05)
    assert not wait.done()

    began = time.monotonic()
    await desk.fold_in(told(ended(ONE)))

    assert await wait is True
    assert time.monotonic() - began < 5
    found = await desk.view.find(ONE)
    assert found is not None
    assert found.status.is_terminal


@pytest.mark.parametrize(
    ("stdout", "looks"), [(StreamSummary(), 1), (StreamSummary(total_bytes=1, content="a"), 1), (in_chunks(1, 1), 2)]
)
async def test_the_view_is_asked_again_only_where_the_ending_came_without_its_output(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, stdout: StreamSummary, looks: int
) -> None:
    asked_for: list[str] = []
    has_ended = desk.view.has_ended

    async def counted(execution_id: str) -> bool | None:
        asked_for.append(execution_id)
        return await has_ended(execution_id)

    monkeypatch.setattr(desk.view, "has_ended", counted)
    await desk.fold_in(asked(ONE), told(running(ONE)))
    await desk.pour(chunk(ONE, 0, b"a"))
    wait = await waiting(desk, ONE)
    await desk.fold_in(told(ended(ONE, stdout=stdout)))
    assert await wait is True
    assert (await desk.view.output(ONE)).complete
    assert len(asked_for) == looks


async def test_an_ending_is_heard_by_all_who_wait_for_it_and_by_nobody_else(desk: Desk) -> None:
    waits = [await waiting(desk, ONE) for _ in range(3)]
    other = await waiting(desk, TWO, 0.3)

    await desk.fold_in(told(ended(ONE)))

    assert await asyncio.gather(*waits) == [True, True, True]
    assert await other is False


async def test_a_wait_has_its_limit(desk: Desk) -> None:
    began = time.monotonic()

    assert await desk.endings.wait(ONE, 0.1) is False
    assert 0.1 <= time.monotonic() - began < 10


async def test_a_wait_goes_on_for_the_output_that_the_ending_counts(desk: Desk) -> None:
    wait = await waiting(desk, ONE)
    await desk.fold_in(asked(ONE), told(ended(ONE, stdout=in_chunks(2, 2))))
    await desk.pour(chunk(ONE, 0, b"a"))
    await asyncio.sleep(0.05)
    assert not wait.done()

    await desk.pour(chunk(ONE, 1, b"b"))

    assert await wait is True
    assert (await desk.view.output(ONE)).complete


async def test_a_wait_does_not_go_on_for_output_that_never_comes(view: View) -> None:
    desk = Desk(view, grace=0.1)
    await desk.fold_in(told(ended(ONE, stdout=in_chunks(2, 2))))

    assert await desk.endings.wait(ONE, 10) is True
    assert not (await view.output(ONE)).complete


async def test_with_too_many_waits_the_next_is_answered_from_what_is_known(view: View) -> None:
    desk = Desk(view, max_waits=1)
    await desk.fold_in(told(ended(TWO, stdout=StreamSummary.inline(b"x"))))
    wait = await waiting(desk, ONE)

    assert await desk.endings.wait(ONE, 60) is False
    assert await desk.endings.wait(TWO, 60) is True

    await desk.fold_in(told(ended(ONE)))
    assert await wait is True


async def test_a_wait_that_is_cancelled_leaves_room_for_the_next(view: View) -> None:
    desk = Desk(view, max_waits=1)
    for _ in range(3):
        wait = await waiting(desk, ONE)
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait

    wait = await waiting(desk, ONE)
    await desk.fold_in(told(ended(ONE)))
    assert await wait is True


async def test_a_wake_of_all_makes_every_wait_look_again(desk: Desk) -> None:
    wait = await waiting(desk, ONE)
    # Committed, and nobody was told.
    await desk.view.apply_log(numbered(told(ended(ONE))), keep_finished=100)

    desk.endings.wake_all()

    async def answered() -> bool:
        return wait.done()

    await eventually(answered, within_seconds=2)
    assert await wait is True
