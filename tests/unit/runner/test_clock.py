"""Clocks that somebody sets while programs run."""

import asyncio
from datetime import datetime, timedelta

import pytest

from schemas.events import Ended
from schemas.status import Status
from schemas.times import utc_now
from tests.support.runner_fixtures import Hub


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.off = timedelta()

    def now(self) -> datetime:
        """What it shows."""
        return utc_now() + self.off


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The runner's."""
    clock = Clock()
    monkeypatch.setattr("runner.execution.utc_now", clock.now)
    return clock


def took(ended: Ended) -> float:
    assert ended.started_at is not None
    return (ended.ended_at - ended.started_at).total_seconds()


@pytest.mark.parametrize("days", [-1, 1])
@pytest.mark.parametrize("killed", [False, True])
async def test_fault22_a_clock_that_is_set_changes_no_duration_and_no_limit(
    hub: Hub, clock: Clock, days: int, killed: bool
) -> None:
    hub.set_settings(timeout_seconds=2, stop_grace_seconds=0.1)
    async with hub.crashing_runner() if killed else hub.runner():
        ends = await hub.submit(sleep=1)
        lasts = await hub.submit(sleep=60)
        await asyncio.gather(*map(hub.is_running, (ends, lasts)))
        clock.off = timedelta(days=days)
        if not killed:
            ended, stopped = await hub.ended(ends), await hub.ended(lasts)
    if killed:
        async with hub.runner():
            ended, stopped = await hub.ended(ends), await hub.ended(lasts)

    assert (ended.status, stopped.status) == (Status.COMPLETED, Status.TIMEOUT)
    assert took(ended) == pytest.approx(1, abs=0.7)
    assert took(stopped) == pytest.approx(2, abs=0.7)
