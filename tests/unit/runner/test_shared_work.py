"""Work that is done once for all who wait for it."""

import asyncio
import time

import pytest

from runner.preparation import Stage
from runner.shared_work import Progressing, SharedWork
from schemas.progress_events import Phase
from tests.support.listening import Listening
from tests.support.wait import eventually

FIRST = Stage(Phase.PULL, "first")


class Work:
    """Work that a test steers."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.progress: Progressing = lambda _: None
        self.result: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def do(self, progress: Progressing) -> str:
        self.begun += 1
        self.progress = progress
        try:
            return await asyncio.shield(self.result)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def test_many_wait_for_one_and_each_hears_of_its_steps() -> None:
    work, shared = Work(), SharedWork[str](tell_seconds=0.01)
    listeners = [Listening() for _ in range(3)]
    waiting = [asyncio.create_task(shared.join("key", work.do, FIRST, listener)) for listener in listeners]

    async def heard() -> list[list[str]]:
        return [[stage.message for stage in listener.stages] for listener in listeners]

    await eventually(heard, lambda all_: all_ == [["first"]] * 3)
    work.progress(Stage(Phase.PULL, "second", 50))
    await eventually(heard, lambda all_: all_ == [["first", "second"]] * 3)
    late = Listening()
    waiting.append(asyncio.create_task(shared.join("key", work.do, FIRST, late)))
    listeners.append(late)
    await eventually(heard, lambda all_: all_[-1] == ["second"])
    work.result.set_result("done")

    assert await asyncio.gather(*waiting) == ["done"] * 4
    assert work.begun == 1


async def test_steps_that_come_too_fast_are_passed_over() -> None:
    shared, listener = SharedWork[None](tell_seconds=0.05), Listening()

    async def work(progress: Progressing) -> None:
        for percent in range(100):
            progress(Stage(Phase.PULL, "fast", percent))
            await asyncio.sleep(0.001)

    began = time.monotonic()
    await shared.join("key", work, FIRST, listener)

    assert 1 <= len(listener.stages) <= 2 + (time.monotonic() - began) / 0.05
    assert listener.stages[0] == FIRST


async def test_it_goes_on_while_one_waits_and_ends_with_the_last() -> None:
    work, shared = Work(), SharedWork[str]()
    first, second = (asyncio.create_task(shared.join("key", work.do, FIRST, Listening())) for _ in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (work.begun, work.cancelled) == (1, 0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert (work.begun, work.cancelled) == (1, 1)


async def test_a_failure_is_everybodys_and_the_next_one_begins_anew() -> None:
    work, shared = Work(), SharedWork[str]()
    waiting = [asyncio.create_task(shared.join("key", work.do, FIRST, Listening())) for _ in range(2)]
    await asyncio.sleep(0)
    work.result.set_exception(ValueError("no"))
    assert [str(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == ["no", "no"]

    again = Work()
    again.result.set_result("yes")
    assert await shared.join("key", again.do, FIRST, Listening()) == "yes"


async def test_a_listener_that_fails_gives_up_its_wait_alone() -> None:
    class Deaf(Listening):
        async def progress(self, stage: Stage) -> None:
            raise OSError(stage.message)

    work, shared = Work(), SharedWork[str]()
    other = asyncio.create_task(shared.join("key", work.do, FIRST, Listening()))
    with pytest.raises(OSError, match="first"):
        await shared.join("key", work.do, FIRST, Deaf())
    work.result.set_result("done")

    assert await other == "done"
    assert (work.begun, work.cancelled) == (1, 0)
