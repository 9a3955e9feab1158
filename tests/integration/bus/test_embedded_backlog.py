"""The embedded bus with many commands that wait: its memory, what it asks its file, their order and their number."""

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from bus.embedded import waiting
from bus.embedded.bus import BUS_FILE, EmbeddedBus
from bus.messages import DeadReason
from bus.ports import Delivery
from tests.integration.bus.messages import claim, command, soon
from tests.support.memory import live_objects
from tests.support.query_plans import Statements

MANY = 50_000
#: Objects in memory for each command that waits: its number alone would be one.
MOST_OBJECTS_EACH = 0.1
POOLS = frozenset({"default", "other"})


@asynccontextmanager
async def opened(folder: Path, *, ttl_seconds: float = 3600.0) -> AsyncIterator[EmbeddedBus]:
    """A bus on the file in this folder."""
    bus = EmbeddedBus(state_dir=folder, command_ttl_seconds=ttl_seconds, expire_seconds=3600)
    await bus.open(POOLS)
    try:
        yield bus
    finally:
        await bus.close()


def fill(folder: Path, count: int, *, queued_at: float | None = None) -> None:
    """Put commands into the file of a bus that is closed, as those of an earlier process."""
    at = time.time() if queued_at is None else queued_at
    with closing(sqlite3.connect(folder / BUS_FILE)) as database, database:
        database.executemany(
            "INSERT INTO work (pool, queued_at, message_id, body, content_type) VALUES ('default', ?, ?, ?, '')",
            [(at, f"old-{number}", b'{"program_id": "p"}') for number in range(count)],
        )


async def take(bus: EmbeddedBus, pool: str = "default") -> Delivery:
    """The next command."""
    delivery: Delivery = await soon(bus.commands.take(pool, 1))
    return delivery


async def test_m35_fifty_thousand_that_wait_take_no_memory_and_come_in_their_order(tmp_path: Path) -> None:
    async with opened(tmp_path):
        before = live_objects()
    fill(tmp_path, MANY)
    async with opened(tmp_path) as bus:
        assert await bus.commands.waiting("default") == MANY
        for number in range(3):
            delivery = await take(bus)
            assert delivery.message.id == f"old-{number}"
            await delivery.done()
        assert await bus.commands.waiting("default") == MANY - 3
        assert live_objects() - before < MOST_OBJECTS_EACH * MANY


async def test_m35_accepting_keeps_nothing_of_what_waits(tmp_path: Path) -> None:
    async def accept(bus: EmbeddedBus, count: int) -> None:
        for _ in range(0, count, 1_000):
            await asyncio.gather(*(bus.commands.accept("default", command()) for _ in range(1_000)))

    async with opened(tmp_path) as bus:
        grown = []
        for _ in range(4):
            before = live_objects()
            await accept(bus, 5_000)
            grown.append(live_objects() - before)
        # What each that waits keeps shows every time; what others in this process make meanwhile does not.
        assert min(grown) < MOST_OBJECTS_EACH * 5_000
        assert await bus.commands.waiting("default") == 20_000


async def test_m35_no_question_to_the_file_walks_through_a_table(tmp_path: Path) -> None:
    statements = Statements()
    async with opened(tmp_path, ttl_seconds=60) as bus:
        pass
    fill(tmp_path, 20)
    fill(tmp_path, 5, queued_at=time.time() - 120)
    bus = EmbeddedBus(state_dir=tmp_path, command_ttl_seconds=60, expire_seconds=3600)
    await bus.open(frozenset())
    writing, reading = bus._store._database, bus._store._reading
    assert writing is not None
    assert reading is not None
    try:
        with statements.listening(writing, reading):
            await bus.open(POOLS)
            await bus.commands.accept("default", command())
            first = await take(bus)
            await bus.decisions.decide(claim("one"))
            await first.done()
            second = await take(bus)
            await second.give_back()
            third = await take(bus)
            await third.reject("not today")
            await bus.commands.expire()
            assert await bus.commands.waiting("default") == 19
        assert len(statements) > 15
        found = statements.scans(writing, "work", "stream_log", "stream_output", "decisions")
        # What is too old is looked for among the first thousand records.
        assert [each for each in found if not each[1].endswith(")") or " LIMIT 1000)" not in each[1]] == []
    finally:
        await bus.close()


async def test_what_has_waited_too_long_expires_in_the_middle_of_the_queue_and_what_is_in_hand_does_not(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    fill(tmp_path, 3)
    fill(tmp_path, 700, queued_at=time.time() - 120)
    fill(tmp_path, 2)
    async with opened(tmp_path, ttl_seconds=3600) as bus:
        in_hand = [await take(bus) for _ in range(4)]  # the last of them is old
        bus.commands._ttl_seconds = 60
        await bus.commands.expire()
        assert await bus.commands.waiting("default") == 2
        letters = await bus.dead_letters.page(1_000)
        assert {letter.reason for letter in letters.letters} == {DeadReason.EXPIRED}
        assert len(letters.letters) == 699
        await in_hand[0].give_back()
        assert await bus.commands.waiting("default") == 3
        names = []
        for _ in range(3):
            delivery = await take(bus)
            names.append(delivery.message.id)
            await delivery.done()
        assert names == ["old-0", "old-0", "old-1"]
        for delivery in in_hand[1:]:
            await delivery.done()
        assert (await bus.commands.waiting("default"), bus.commands.unsettled()) == (0, 0)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_each_command_is_in_one_place_and_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Several takers at once, cancelled takes, returns, refusals and restarts, with few read ahead."""
    monkeypatch.setattr(waiting, "_READ_AHEAD", 3)
    chance = random.Random(seed)
    left: set[str] = set()
    number = 0
    for _ in range(3):
        async with opened(tmp_path) as bus:
            assert await bus.commands.waiting("default") == len(left)
            in_hand: list[Delivery] = []
            for _ in range(60):
                what = chance.random()
                if what < 0.4:
                    fresh = [f"c{number + each}" for each in range(chance.randrange(1, 5))]
                    number += len(fresh)
                    left |= {*fresh}
                    await asyncio.gather(*(bus.commands.accept("default", command(name)) for name in fresh))
                elif what < 0.7 and left:
                    takers = [asyncio.create_task(bus.commands.take("default", 1)) for _ in range(chance.randrange(1, 4))]
                    if chance.random() < 0.3:
                        await asyncio.sleep(0)
                        takers[0].cancel()
                    done, waiting_still = await asyncio.wait(takers, timeout=0.2)
                    for task in waiting_still:
                        task.cancel()
                    results = await asyncio.gather(*done, *waiting_still, return_exceptions=True)
                    in_hand += [result for result in results if not isinstance(result, BaseException)]
                elif in_hand:
                    delivery = in_hand.pop(chance.randrange(len(in_hand)))
                    if what < 0.85:
                        await delivery.give_back()
                    else:
                        await (delivery.done() if what < 0.95 else delivery.reject("no"))
                        assert delivery.message.id is not None
                        left.remove(delivery.message.id)
                held = [delivery.message.id for delivery in in_hand]
                assert len({*held}) == len(held)
                assert await bus.commands.waiting("default") == len(left) - len(held)
                assert bus.commands.unsettled() == len(held)
    async with opened(tmp_path) as bus:
        names = []
        while await bus.commands.waiting("default"):
            delivery = await take(bus)
            names.append(delivery.message.id)
            await delivery.done()
        assert sorted(names, key=str) == sorted(left)
