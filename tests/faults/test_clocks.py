"""Clocks that jump by more than a day, of one service at a time, while programs run."""

import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import HubMaker
from tests.support.api import Api
from tests.support.broker import Broker
from tests.support.set_clock import SetClock
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]


@dataclass
class Fleet:
    """A hub, and the clocks of its parts."""

    api: Api
    clocks: dict[str, SetClock]


@pytest.fixture(params=["embedded", "rabbitmq"])
async def fleet(request: pytest.FixtureRequest, make_hub: HubMaker, tmp_path: Path) -> AsyncIterator[Fleet]:
    """All in one process on the embedded bus, or gateway and runner on RabbitMQ, each with a clock of its own."""
    names = ["up"] if request.param == "embedded" else ["gateway", "runner"]
    clocks = {name: SetClock(tmp_path / f"{name}.clock") for name in names}
    bus_url = "embedded"
    if request.param == "rabbitmq":
        broker: Broker = request.getfixturevalue("broker")
        bus_url = broker.new_vhost_url()
    with ExitStack() as stack:
        parts = []
        for name, clock in clocks.items():
            hub = make_hub(bus_url=bus_url, parts=(name,))
            hub.environment |= clock.environment
            stack.callback(hub.close)
            hub.start()
            parts.append(hub)
        async with aiohttp.ClientSession(parts[0].address) as session:
            api = Api(session)
            await api.log_in()
            yield Fleet(api, clocks)


async def test_fault22_clocks_that_jump_bring_no_limit_early_or_late_and_tokens_are_judged_by_them(fleet: Fleet) -> None:
    assert (await fleet.api.run("hello"))["status"] == "completed"
    for name, clock in fleet.clocks.items():
        for hours in (25, -25):
            await run_through(fleet, clock, hours, judges_tokens=name != "runner")
            clock.set_hours(0)
            await fleet.api.log_in()
    assert (await fleet.api.run("hello"))["status"] == "completed"
    assert (await fleet.api.get("/health"))["live_runners"] == 1


async def run_through(fleet: Fleet, clock: SetClock, hours: int, *, judges_tokens: bool) -> None:
    api = fleet.api
    submitted_at = time.monotonic()
    ids = [await api.submit("stubborn"), await api.submit("sleeps", seconds=3)]
    await eventually(lambda: states(api, ids), lambda seen: seen == ["running"] * 2, within_seconds=20)
    clock.set_hours(hours)
    if judges_tokens and hours > 0:
        status, _, body = await api.call("GET", "/programs")
        assert (status, body["type"]) == (401, "/problems/invalid-token")
    await api.log_in()
    records = [await api.finished(execution_id, within_seconds=20) for execution_id in ids]

    # A busy machine takes its time to stop a program; no clock but the real one says how long.
    took_seconds = time.monotonic() - submitted_at
    assert took_seconds < 30
    assert [record["status"] for record in records] == ["timeout", "completed"]
    # The stubborn one has 2 s, and 1 s of grace. Counted from when Docker said that it has started, which is a moment later.
    assert all(2.9 <= duration(record) < took_seconds for record in records), [duration(record) for record in records]
    for execution_id in ids:
        assert 0 <= (await api.get(f"/executions/{execution_id}/logs"))["duration_seconds"] < took_seconds


async def states(api: Api, ids: list[str]) -> list[str]:
    return [(await api.get(f"/executions/{execution_id}"))["status"] for execution_id in ids]


def duration(record: dict[str, Any]) -> float:
    start, end = (datetime.fromisoformat(record[name]) for name in ("start_time", "end_time"))
    return (end - start).total_seconds()
