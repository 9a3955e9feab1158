import asyncio

import pytest

from runner.errors import Interrupted
from runner.waiting import finished, unless


async def test_work_that_is_done_first_gives_its_result() -> None:
    assert await unless(asyncio.Event(), asyncio.sleep(0, "result")) == "result"


async def test_an_event_cancels_the_work() -> None:
    event, cancelled = asyncio.Event(), False

    async def work() -> None:
        nonlocal cancelled
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled = True
            raise

    asyncio.get_running_loop().call_later(0.01, event.set)
    with pytest.raises(Interrupted):
        await unless(event, work())
    assert cancelled


async def test_work_that_finishes_while_it_is_being_cancelled_counts() -> None:
    event = asyncio.Event()
    event.set()

    async def work() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "in the very moment"
        raise AssertionError

    assert await unless(event, work()) == "in the very moment"


async def test_the_work_s_error_comes_through() -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await unless(asyncio.Event(), work())


async def test_what_must_not_be_left_half_done_is_waited_for_a_moment() -> None:
    done = False

    async def work(seconds: float) -> str:
        nonlocal done
        await asyncio.sleep(seconds)
        done = True
        return "result"

    assert await finished(work(0)) == "result"
    for seconds, is_done in ((0.1, True), (60, False)):
        done = False
        waiting = asyncio.create_task(finished(work(seconds), 0.3))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert done is is_done
