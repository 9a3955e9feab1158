"""Requests that wait for an ending."""

import asyncio

from gateway.waits import Waits
from tests.support.gateway_fakes import MemoryView
from tests.support.wait import eventually


async def waiting(view: MemoryView) -> None:
    async def waited_for() -> set[str]:
        return view.waited_for

    await eventually(waited_for)


async def test_beyond_the_limit_nobody_is_kept_waiting() -> None:
    view = MemoryView()
    waits = Waits(view, max_waiting=1)
    first = asyncio.create_task(waits.ended("first", 30))
    await waiting(view)

    assert await asyncio.wait_for(waits.ended("second", 30), 1) is False
    assert view.waited_for == {"first"}
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert view.waited_for == set()


async def test_closing_lets_everybody_go_at_once() -> None:
    view = MemoryView()
    waits = Waits(view)
    wait = asyncio.create_task(waits.ended("first", 300))
    await waiting(view)

    waits.close()

    assert await asyncio.wait_for(wait, 1) is False
    assert await asyncio.wait_for(waits.ended("second", 300), 1) is False


async def test_no_time_to_wait_asks_nobody() -> None:
    view = MemoryView()

    assert await Waits(view).ended("first", 0) is False
    assert view.waited_for == set()
