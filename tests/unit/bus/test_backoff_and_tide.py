"""Waiting: longer each time, and never past news."""

import asyncio

import pytest

from bus.backoff import Backoff
from bus.embedded.tide import Tide
from bus.errors import BusClosed


async def test_pauses_double_up_to_their_limit_and_begin_again_after_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("bus.backoff.asyncio.sleep", sleep)
    backoff = Backoff(first_seconds=1, most_seconds=5)
    for _ in range(5):
        await backoff.pause()
    backoff.reset()
    await backoff.pause()
    for pause, longest in zip(pauses, (1, 2, 4, 5, 5, 1), strict=True):
        assert longest / 2 <= pause <= longest


async def test_a_rise_before_the_wait_is_not_missed() -> None:
    tide = Tide()
    height = tide.height
    tide.rise()
    await asyncio.wait_for(tide.above(height), 1)


async def test_all_who_wait_hear_of_a_rise() -> None:
    tide = Tide()
    waiting = [asyncio.create_task(tide.above(tide.height)) for _ in range(5)]
    await asyncio.sleep(0)
    tide.rise()
    await asyncio.wait_for(asyncio.gather(*waiting), 1)


async def test_closing_ends_every_wait() -> None:
    tide = Tide()
    waiting = asyncio.create_task(tide.above(tide.height))
    await asyncio.sleep(0)
    tide.close()
    with pytest.raises(BusClosed):
        await asyncio.wait_for(waiting, 1)
    with pytest.raises(BusClosed):
        await asyncio.wait_for(tide.above(0), 1)
