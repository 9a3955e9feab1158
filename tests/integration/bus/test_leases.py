"""Who is there, on both buses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from bus.errors import BusClosed
from bus.messages import Lease
from bus.ports import Bus
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import soon, stays_silent
from tests.support.wait import eventually


def lease(runner_id: str = "one", **fields: Any) -> Lease:
    """A lease, written now."""
    now = datetime.now(UTC)
    return Lease(
        **{
            "runner_id": runner_id,
            "epoch": "e",
            "pool": "default",
            "max_concurrent_executions": 3,
            "started_at": now,
            "written_at": now,
            "engine_version": "Docker 20.10",
            **fields,
        }
    )


@asynccontextmanager
async def following(bus: Bus) -> AsyncIterator[None]:
    """Leases are read inside, from before the first that is written there."""
    task = asyncio.create_task(bus.leases.follow())

    async def is_read() -> bool:
        # Again and again, as runners do: one that RabbitMQ stores in the very moment in which a reader attaches may pass it by.
        await bus.leases.keep(lease("warm-up"))
        return bool(bus.leases.live())

    async def is_empty() -> bool:
        return all(each.runner_id != "warm-up" for each in bus.leases.live())

    try:
        await eventually(is_read)
        await bus.leases.keep(lease("warm-up", leaves=True))
        await eventually(is_empty)
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until_live(bus: Bus, *runner_ids: str) -> list[Lease]:
    """The leases, once these runners are there and no others."""

    async def live() -> list[Lease]:
        return list(bus.leases.live())

    return await eventually(live, lambda leases: [lease.runner_id for lease in leases] == list(runner_ids))


async def test_a_lease_is_seen_as_it_was_written_wherever_it_is_asked_for(buses: Buses) -> None:
    several = [await buses.open() for _ in range(buses.most)]
    written = lease()
    async with following(several[-1]):
        await several[0].leases.keep(written)
        assert await until_live(several[-1], "one") == [written]


async def test_the_newest_lease_counts_and_a_runner_that_leaves_is_gone(bus: Bus) -> None:
    async with following(bus):
        await bus.leases.keep(lease("one"))
        await bus.leases.keep(lease("two"))
        await until_live(bus, "one", "two")
        await bus.leases.keep(lease("two", max_concurrent_executions=9))
        await bus.leases.keep(lease("one", leaves=True))
        (left,) = await until_live(bus, "two")
        assert left.max_concurrent_executions == 9


async def test_a_lease_runs_out(bus: Bus) -> None:
    async with following(bus):
        await bus.leases.keep(lease(ttl_seconds=1.0))
        await until_live(bus, "one")
        await until_live(bus)


async def test_closing_the_bus_ends_following(bus: Bus) -> None:
    following = asyncio.ensure_future(bus.leases.follow())
    await stays_silent(asyncio.shield(following))
    await bus.close()
    with pytest.raises(BusClosed):
        await soon(following)
