"""M29: the state is said again now and then, so that a start reads little; and nothing that was revoked comes back by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from bus.messages import Message, Position, Source, StreamName
from hub.api_tokens import ApiTokens
from hub.token_table import TokenTable
from schemas.times import utc_now
from schemas.tokens import (
    MARK_KEY,
    REVOKED_KEY,
    SNAPSHOT_BEGUN_KEY,
    SNAPSHOT_PART_KEY,
    SnapshotBegun,
    TokenRevoked,
)
from tests.support.memory_bus import MemoryBus
from tests.support.wait import eventually
from tests.unit.hub.test_api_tokens import is_valid, make


class Clock:
    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        return self.now


class Bench:
    """Gateways on one bus, each with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bus = MemoryBus()
        self.clock = Clock()

    @asynccontextmanager
    async def gateway(self, name: str = "one", *, holds: bool = False) -> AsyncIterator[ApiTokens]:
        tokens = ApiTokens(self.bus.streams, clock=self.clock, snapshots_file=self.folder / f"{name}.json", look_seconds=0.02)
        tasks = [asyncio.create_task(tokens.run())]
        if holds:
            tasks.append(asyncio.create_task(tokens.keep_short()))
        assert await tokens.caught_up(5)
        try:
            yield tokens
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(result) for result in results} == {asyncio.CancelledError}, results

    def keys(self) -> list[str]:
        return [record.key for record in self.bus.streams_.records[StreamName.STATE]]

    async def until_snapshots(self, number: int) -> None:
        async def parts() -> int:
            return self.keys().count(SNAPSHOT_PART_KEY)

        await eventually(parts, lambda seen: seen >= number, within_seconds=20)

    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[Position | None]:
        """Where readers begin from now on."""
        begun: list[Position | None] = []
        read = self.bus.streams_.read

        def noted(stream: StreamName, after: Position | None) -> object:
            begun.append(after)
            return read(stream, after)

        monkeypatch.setattr(self.bus.streams_, "read", noted)
        return begun


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_m29_a_gateway_that_starts_again_begins_at_the_newest_snapshot_and_knows_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench.gateway(holds=True) as tokens:
        kept = [await make(tokens) for _ in range(250)]
        gone_id, gone = await make(tokens)
        assert await tokens.revoke(gone_id, revoked_by="ada")
        bench.clock.now += timedelta(days=1)
        await bench.until_snapshots(4)
    begun = bench.reads(monkeypatch)
    async with bench.gateway() as tokens:
        assert begun[0] is not None
        assert bench.keys()[begun[0].offset] == SNAPSHOT_BEGUN_KEY
        for _, token in kept:
            assert await is_valid(tokens, token)
        assert not await is_valid(tokens, gone)
        assert len(await tokens.all()) == 250
    # One that has no such file reads everything, and comes to the same.
    async with bench.gateway("two") as tokens:
        assert begun[1] is None
        assert len(await tokens.all()) == 250


async def test_m29_what_is_revoked_while_a_snapshot_is_written_stays_revoked(bench: Bench) -> None:
    """Between the place that a snapshot tells of and the parts that tell it, anything may stand."""
    async with bench.gateway() as tokens:
        token_id, token = await make(tokens)
        snapshot_id = "0" * 36
        table = TokenTable()
        for created in await tokens.all():
            table.create(created)
        parts = table.snapshot(snapshot_id, bench.clock())
        append = partial(bench.bus.streams.append, StreamName.STATE)
        begun = SnapshotBegun(snapshot_id=snapshot_id, begun_at=bench.clock())
        await append(SNAPSHOT_BEGUN_KEY, Message(id=snapshot_id, body=begun.to_bytes()))
        revoked = TokenRevoked(token_id=token_id, revoked_at=bench.clock(), revoked_by="ada")
        await append(REVOKED_KEY, Message(id="revoked", body=revoked.to_bytes()))
        for part in parts:
            await append(SNAPSHOT_PART_KEY, Message(id=f"part {part.part}", body=part.to_bytes()))
        await eventually(lambda: asyncio.sleep(0, (bench.folder / "one.json").exists()))
        assert not await is_valid(tokens, token)
    async with bench.gateway() as tokens:
        assert not await is_valid(tokens, token)
        assert await tokens.all() == []


async def test_parts_of_a_snapshot_whose_beginning_was_not_read_say_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was frozen while it wrote one goes on with what held long ago, when its revocation is forgotten."""
    monkeypatch.setattr("hub.token_table._MOST_REVOKED", 1)
    async with bench.gateway(holds=True) as tokens:
        token_id, token = await make(tokens)
        (created,) = await tokens.all()
        table = TokenTable()
        table.create(created)
        (late,) = table.snapshot("1" * 36, bench.clock())
        await tokens.revoke(token_id, revoked_by="ada")
        other_id, _ = await make(tokens)
        await tokens.revoke(other_id, revoked_by="ada")
        await bench.until_snapshots(1)
        await bench.bus.streams.append(StreamName.STATE, SNAPSHOT_PART_KEY, Message(id="late", body=late.to_bytes()))
        assert not await is_valid(tokens, token)
    async with bench.gateway() as tokens:
        assert not await is_valid(tokens, token)


async def test_it_is_said_again_once_a_day_and_not_before_as_much_was_said_as_is_to_be_said_again(bench: Bench) -> None:
    async with bench.gateway(holds=True) as tokens:
        await bench.until_snapshots(1)
        for _ in range(5):
            await make(tokens)
        await asyncio.sleep(0.1)
        assert bench.keys().count(SNAPSHOT_PART_KEY) == 1
        bench.clock.now += timedelta(days=1)
        await bench.until_snapshots(2)
        bench.clock.now += timedelta(days=10)
        for _ in range(4):
            await bench.bus.streams.append(StreamName.STATE, MARK_KEY, Message(id="m", body=b"{}"))
        await asyncio.sleep(0.1)
        assert bench.keys().count(SNAPSHOT_PART_KEY) == 2
        await bench.bus.streams.append(StreamName.STATE, MARK_KEY, Message(id="m", body=b"{}"))
        await bench.until_snapshots(3)


@pytest.mark.parametrize("spoilt", ["garbage", "[]", '{"offset": 1}', '{"offset": 0, "snapshot_id": "x", "at": "never"}'])
async def test_a_file_that_says_nothing_costs_a_longer_start_and_no_more(bench: Bench, spoilt: str) -> None:
    async with bench.gateway() as tokens:
        _, token = await make(tokens)
    (bench.folder / "one.json").write_text(spoilt, encoding="utf-8")
    async with bench.gateway() as tokens:
        assert await is_valid(tokens, token)


async def test_bus6_a_state_that_was_replaced_is_said_again_by_the_gateway_that_knows_it(bench: Bench) -> None:
    async with bench.gateway(holds=True) as tokens:
        _, token = await make(tokens)
        await bench.until_snapshots(1)
        bench.bus.streams_.replace(StreamName.STATE)
        assert await eventually(lambda: asyncio.sleep(0, bench.keys().count(SNAPSHOT_PART_KEY) == 1), within_seconds=20)
        assert await is_valid(tokens, token)
    async with bench.gateway("two") as other:
        assert await is_valid(other, token)
    assert Source.REPORTS in {record.source for record in bench.bus.streams_.records[StreamName.STATE]}
