"""The overlay of what was just accepted."""

import asyncio

import pytest

from gateway.errors import OverlayFull, ViewUnavailable
from gateway.overlay import Overlay
from schemas.executions import Execution
from schemas.ids import new_execution_id
from schemas.status import Status
from tests.support.gateway_fakes import MemoryView
from tests.support.wait import eventually


def queued() -> Execution:
    return Execution(execution_id=new_execution_id(), program_id="example_script", status=Status.QUEUED)


def add(overlay: Overlay, count: int) -> list[Execution]:
    executions = [queued() for _ in range(count)]
    for execution in executions:
        with overlay.room_for(execution):
            pass
    return executions


def test_an_execution_is_shown_once_its_publish_succeeded() -> None:
    overlay = Overlay()
    execution = queued()

    with overlay.room_for(execution):
        assert overlay.find(execution.execution_id) is None

    assert overlay.find(execution.execution_id) is execution


def test_a_failed_publish_leaves_nothing_and_gives_its_room_back() -> None:
    overlay = Overlay(max_executions=1)

    with pytest.raises(RuntimeError), overlay.room_for(queued()):
        raise RuntimeError

    assert len(overlay) == 0
    assert len(add(overlay, 1)) == 1


def test_rooms_of_publishes_under_way_count() -> None:
    overlay = Overlay(max_executions=1)

    with overlay.room_for(queued()), pytest.raises(OverlayFull), overlay.room_for(queued()):
        raise AssertionError("there was room")


async def test_a_sweep_drops_what_the_view_shows() -> None:
    overlay, view = Overlay(), MemoryView()
    executions = add(overlay, 10)
    for execution in executions[:7]:
        await view.put(execution)

    assert await overlay.sweep(view) == 7
    assert {one.execution_id for one in overlay.newest(10)} == {one.execution_id for one in executions[7:]}


async def test_executions_that_never_come_do_not_hide_those_behind_them() -> None:
    overlay, view = Overlay(), MemoryView()
    lost = add(overlay, 40)
    for execution in add(overlay, 100):
        await view.put(execution)

    for _ in range(5):
        await overlay.sweep(view)

    assert len(overlay) == len(lost)


async def test_a_sweep_asks_little_of_a_view_that_lags_behind() -> None:
    overlay, view = Overlay(), MemoryView()
    add(overlay, 1000)

    await overlay.sweep(view)

    assert view.finds < 30


async def test_sweeping_survives_a_view_that_is_away_and_ends_when_cancelled() -> None:
    overlay, view = Overlay(), MemoryView()
    [execution] = add(overlay, 1)
    view.error = ViewUnavailable("away")
    sweeping = asyncio.create_task(overlay.keep_swept(view))

    async def finds() -> int:
        return view.finds

    await eventually(finds)
    view.error = None
    await view.put(execution)

    async def left() -> int:
        return len(overlay)

    await eventually(left, lambda count: count == 0)
    sweeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweeping
