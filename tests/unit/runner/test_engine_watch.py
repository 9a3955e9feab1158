"""How often the engine is asked whether it answers."""

import asyncio

import pytest

from runner import engine_watch
from runner.engine_watch import EngineWatch
from runner.fake_engine import FakeEngine
from tests.support.wait import eventually


class Counting(FakeEngine):
    """A fake that counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.pings = 0

    async def ping(self) -> str:
        self.pings += 1
        return await super().ping()


async def test_an_answer_of_a_moment_ago_is_good_enough_to_take_work_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_watch, "FRESH_SECONDS", 3600.0)
    engine = Counting()
    watch = EngineWatch(engine)
    assert await watch.check_for_work()
    for _ in range(100):
        assert await watch.check_for_work()
    assert engine.pings == 1


async def test_an_engine_that_was_found_gone_is_asked_before_work_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_watch, "FRESH_SECONDS", 3600.0)
    engine = Counting()
    watch = EngineWatch(engine)
    assert await watch.check()
    engine.away = True
    assert not await watch.check()
    assert not await watch.check_for_work()
    engine.away = False
    assert await watch.check_for_work()


async def test_while_work_comes_in_the_engine_is_asked_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Half of it has passed at once, all of it never.
    monkeypatch.setattr(engine_watch, "FRESH_SECONDS", 1e-9)
    engine = Counting()
    watch = EngineWatch(engine)
    watching = asyncio.create_task(watch.run())
    try:
        await eventually(lambda: _pings(engine), lambda pings: pings == 1)
        await watch.check_for_work()
        # Once for this, and once by itself.
        await eventually(lambda: _pings(engine), lambda pings: pings == 3)
        engine.away = True
        assert not await watch.check_for_work()
        assert watch.away.is_set()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _pings(engine: Counting) -> int:
    return engine.pings
