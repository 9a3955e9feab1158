"""M29: the state is said again on real buses, and a gateway that starts again reads from there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bus.messages import StreamName
from bus.ports import Bus
from hub.api_tokens import ApiTokens
from schemas.tokens import SNAPSHOT_PART_KEY, Scope
from tests.integration.bus.conftest import Buses, bus, buses
from tests.integration.bus.messages import collect
from tests.support.wait import eventually

__all__ = ["bus", "buses"]


@asynccontextmanager
async def gateway(bus: Bus, file: Path) -> AsyncIterator[ApiTokens]:
    tokens = ApiTokens(bus.streams, snapshots_file=file, look_seconds=0.05)
    tasks = [asyncio.create_task(tokens.run()), asyncio.create_task(tokens.keep_short())]
    assert await tokens.caught_up(15)
    try:
        yield tokens
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {asyncio.CancelledError}, results


async def test_m29_a_start_reads_from_the_newest_snapshot_on(buses: Buses, tmp_path: Path) -> None:
    bus = await buses.open()
    async with gateway(bus, tmp_path / "from.json") as tokens:
        _, before = await tokens.create(name="before", scope=Scope.RUN, days=None, created_by="ada")
        await eventually(lambda: asyncio.sleep(0, (tmp_path / "from.json").exists()))
        _, after = await tokens.create(name="after", scope=Scope.RUN, days=None, created_by="ada")
    bus = await buses.reopen(bus)
    async with gateway(bus, tmp_path / "from.json") as tokens:
        for token, name in ((before, "before"), (after, "after")):
            assert (await tokens.verify(token)).name == name
    records = await collect(bus.streams.read(StreamName.STATE, None), 4)
    assert [record.key for record in records].count(SNAPSHOT_PART_KEY) == 1
