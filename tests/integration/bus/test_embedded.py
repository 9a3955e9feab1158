"""What the embedded bus alone can get wrong: its file."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from bus import topology
from bus.embedded.announcements import EmbeddedAnnouncements
from bus.embedded.bus import BUS_FILE, EmbeddedBus
from bus.embedded.store import Store
from bus.embedded.streams import EmbeddedStreams, append_to
from bus.embedded.tide import Tide
from bus.errors import BusInUse, BusUnavailable
from bus.messages import DeadReason, Message, Source, StreamName
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import claim, command, read, report, soon, stays_silent, take
from tests.support.wait import eventually

ROOT = Path(__file__).parents[3]

#: A process that accepts, takes one command, says so, and then hangs until it is killed.
VICTIM = """
import asyncio, sys
from pathlib import Path
from bus.open import make_bus
from bus.messages import Message

async def main():
    bus = make_bus("embedded", state_dir=Path(sys.argv[1]), name="victim")
    await bus.open(frozenset({"default"}))
    for number in range(3):
        await bus.commands.accept("default", Message(id=str(number), body=b"{}"))
    delivery = await bus.commands.take("default", 1)
    print(delivery.message.id, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def start_victim(folder: Path) -> "subprocess.Popen[str]":
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert victim.stdout is not None
    assert victim.stdout.readline() == "0\n"
    return victim


async def test_after_kill_9_everything_is_there_and_what_was_in_hand_comes_again(embedded: Buses, tmp_path: Path) -> None:
    folder = tmp_path / "only"
    folder.mkdir()
    victim = await asyncio.to_thread(start_victim, folder)
    victim.send_signal(signal.SIGKILL)
    await asyncio.to_thread(victim.communicate)
    bus = await embedded.open()
    assert [(await take(bus)).message.id for _ in range(3)] == ["0", "1", "2"]
    assert [record.message.id for record in await read(bus, 3)] == ["0", "1", "2"]


async def test_bus9_a_second_process_is_refused_and_told_why(embedded: Buses, tmp_path: Path) -> None:
    folder = tmp_path / "only"
    folder.mkdir()
    victim = await asyncio.to_thread(start_victim, folder)
    try:
        bus = embedded.make()
        with pytest.raises(BusInUse, match="HUB_STATE_DIR"):
            await bus.open(frozenset({"default"}))
        assert not bus.state.connected
    finally:
        victim.kill()
        await asyncio.to_thread(victim.communicate)
    # The dead leave no lock behind.
    await bus.open(frozenset({"default"}))
    assert bus.state.connected


async def test_everything_survives_a_close_and_an_open(embedded: Buses) -> None:
    bus = await embedded.open()
    message = command(reply_to="reply.x", correlation_id="c")
    await bus.commands.accept("default", message)
    decided = claim("x")
    await bus.decisions.decide(decided)
    await bus.streams.append(StreamName.OUTPUT, "output.p.x", report("chunk"))
    bus = await embedded.reopen(bus)
    assert (await take(bus)).message == message
    assert await bus.decisions.decision_for("x", 1) == decided
    assert (await read(bus, 1, stream=StreamName.OUTPUT))[0].message == report("chunk")


async def test_bus9_writes_of_one_moment_share_one_commit(tmp_path: Path) -> None:
    store = Store(tmp_path / "some.db")
    await store.open()
    try:
        writes = [
            partial(append_to, stream=StreamName.LOG, source=Source.REPORTS, key="k", message=report(str(n)))
            for n in range(500)
        ]
        await asyncio.gather(*map(store.write, writes))
        assert store.commits == 1
        await asyncio.gather(*map(store.write, writes))
        assert store.commits == 2
        count = await store.read(lambda database: database.execute("SELECT COUNT(*) FROM stream_log").fetchone())
        assert count == (1_000,)
    finally:
        await store.close()


async def test_a_dead_letter_holds_body_id_and_reason(embedded: Buses, tmp_path: Path) -> None:
    bus = await embedded.open()
    await bus.commands.accept("default", command("bad one"))
    await (await take(bus)).reject("no program_id " + "x" * 5_000)
    await bus.close()
    with sqlite3.connect(tmp_path / "only" / BUS_FILE) as database:
        ((message_id, body, reason, key),) = database.execute("SELECT message_id, body, detail, routing_key FROM dead_letters")
        assert database.execute("SELECT COUNT(*) FROM work").fetchone() == (0,)
    database.close()
    assert (message_id, body, key) == ("bad one", command().body, "execute.default")
    assert reason.startswith("no program_id xxx")
    assert len(reason) == topology.REASON_LENGTH


async def test_an_accept_whose_caller_was_cancelled_is_taken_or_never_was(embedded: Buses) -> None:
    bus = await embedded.open()
    for _ in range(20):
        accepting = asyncio.create_task(bus.commands.accept("default", command()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        accepting.cancel()
        await asyncio.wait({accepting})
    await bus.commands.accept("default", command("last"))
    taken: list[str | None] = []
    while not taken or taken[-1] != "last":
        taken.append((await take(bus)).message.id)
    assert [record.message.id for record in await read(bus, len(taken))] == taken


async def test_one_write_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "some.db")
    await store.open()

    def fail(database: sqlite3.Connection) -> None:
        database.execute("INSERT INTO checkpoint (only, position) VALUES (1, 99)")
        raise ZeroDivisionError

    def succeed(database: sqlite3.Connection) -> int:
        return database.execute("INSERT INTO subscriptions VALUES ('a', 'b')").rowcount

    try:
        failed, succeeded = await asyncio.gather(store.write(fail), store.write(succeed), return_exceptions=True)
        assert isinstance(failed, ZeroDivisionError)
        assert succeeded == 1
        assert await store.read(lambda database: database.execute("SELECT * FROM checkpoint").fetchall()) == []
        assert await store.read(lambda database: database.execute("SELECT * FROM subscriptions").fetchall()) == [("a", "b")]
    finally:
        await store.close()


def problem(store: Store) -> str | None:
    return store.problem


async def test_fault21_a_full_disk_is_told_and_over_when_there_is_room_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "some.db")
    await store.open()
    streams = EmbeddedStreams(store, {stream: Tide() for stream in StreamName})

    async def limit_pages(number: int) -> None:
        await store.write(lambda database: database.execute(f"PRAGMA max_page_count = {number}").fetchone())

    async def append(size: int) -> None:
        await streams.append(StreamName.OUTPUT, "output.p.x", Message(id="x", body=b"x" * size))

    try:
        await limit_pages(1)  # that is: no more than there are now
        with pytest.raises(BusUnavailable) as refused:
            await append(1_000_000)
        assert not refused.value.outcome_unknown
        assert "full" in (problem(store) or "")
        await limit_pages(1_000_000)
        await append(1_000_000)
        assert problem(store) is None
        count = await store.read(lambda database: database.execute("SELECT COUNT(*) FROM stream_output").fetchone())
        assert count == (1,)
    finally:
        await store.close()


async def test_records_that_are_too_old_go_and_positions_stay(embedded: Buses, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = await embedded.open()
    assert isinstance(bus, EmbeddedBus)
    now = time.time()
    with monkeypatch.context() as past:
        past.setattr("bus.embedded.streams.time.time", lambda: now - topology.LOG_AGE_DAYS * topology.DAY_SECONDS - 60)
        for message_id in "abc":
            await bus.streams.append(StreamName.LOG, "execution.running.p", report(message_id))
    old = await read(bus, 3)
    await bus.streams.append(StreamName.LOG, "execution.running.p", report("d"))
    await bus.streams.prune()
    (kept,) = await read(bus, 1)
    assert kept.message.id == "d"
    assert kept.position.offset == old[-1].position.offset + 1


async def test_a_named_subscriber_that_stays_away_loses_the_oldest(tmp_path: Path) -> None:
    store = Store(tmp_path / "some.db")
    await store.open()
    announcements = EmbeddedAnnouncements(store, named_length=3)
    try:
        async with announcements.subscribe(["#"], name="billing"), announcements.subscribe(["#"], name="other"):
            pass
        async with announcements.hold() as holder:
            for number in range(5):
                await holder.announce("execution.queued.p", report(str(number)))
        async with announcements.subscribe(["#"], name="billing") as waiting:
            assert [(await soon(anext(waiting))).message.id for _ in range(3)] == ["2", "3", "4"]
            await stays_silent(anext(waiting))
    finally:
        announcements.close()
        await store.close()


async def test_a_subscriber_that_is_slow_loses_the_oldest_and_stops_nobody(
    embedded: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topology, "SUBSCRIPTION_LENGTH", 3)
    bus = await embedded.open()
    async with bus.announcements.hold() as holder, bus.announcements.subscribe(["#"]) as slow:
        for number in range(5):
            await holder.announce("execution.queued.p", report(str(number)))
        assert [(await soon(anext(slow))).message.id for _ in range(3)] == ["2", "3", "4"]


async def test_a_state_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    bus = EmbeddedBus(state_dir=tmp_path / "missing")
    with pytest.raises(BusUnavailable, match="missing"):
        await bus.open(frozenset({"default"}))
    assert not bus.state.connected
    await bus.close()


async def test_what_waits_for_too_long_is_a_dead_letter_and_what_is_in_hand_is_not(tmp_path: Path) -> None:
    bus = EmbeddedBus(state_dir=tmp_path, command_ttl_seconds=0.3, expire_seconds=0.05)
    await bus.open(frozenset({"default"}))
    await bus.commands.accept("default", command("in hand"))
    delivery = await take(bus)
    for message_id in ("one", "two"):
        await bus.commands.accept("default", command(message_id))

    async def dead() -> list[tuple[str | None, DeadReason, str]]:
        page = await bus.dead_letters.page(10)
        return [(letter.message_id, letter.reason, letter.key) for letter in page.letters]

    expected = [(name, DeadReason.EXPIRED, "execute.default") for name in ("two", "one")]
    await eventually(dead, lambda seen: seen == expected)
    assert (await bus.commands.waiting("default"), bus.dead_letters.count()) == (0, 2)
    # What comes back has waited for too long by now, as on RabbitMQ.
    await delivery.give_back()
    await eventually(dead, lambda seen: len(seen) == 3)
    await bus.close()


async def test_what_has_waited_for_too_long_is_not_handed_out(tmp_path: Path) -> None:
    bus = EmbeddedBus(state_dir=tmp_path, command_ttl_seconds=0.2, expire_seconds=3600)
    await bus.open(frozenset({"default"}))
    await bus.commands.accept("default", command("old"))
    await asyncio.sleep(0.25)
    await bus.commands.accept("default", command("new"))
    assert (await take(bus)).message.id == "new"
    assert bus.dead_letters.count() == 1
    await bus.close()


async def test_what_an_earlier_version_left_waits_from_now_on(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / BUS_FILE) as file:
        file.execute(
            "CREATE TABLE work (sequence INTEGER PRIMARY KEY AUTOINCREMENT, pool TEXT NOT NULL, message_id TEXT,"
            " body BLOB NOT NULL, content_type TEXT NOT NULL, timestamp TEXT, reply_to TEXT, correlation_id TEXT)"
        )
        file.execute(
            "INSERT INTO work (pool, message_id, body, content_type) VALUES ('default', 'old', '{}', 'application/json')"
        )
    file.close()
    bus = EmbeddedBus(state_dir=tmp_path, command_ttl_seconds=60)
    await bus.open(frozenset({"default"}))
    assert (await take(bus)).message.id == "old"
    await bus.close()


async def test_bus9_claims_are_forgotten_once_nobody_has_told_them_for_three_days(tmp_path: Path) -> None:
    bus = EmbeddedBus(state_dir=tmp_path)
    await bus.open(frozenset({"default"}))
    claims = [claim(name) for name in ("done", "running", "later")]
    for each in claims:
        await bus.decisions.decide(each)
    await bus.close()
    with sqlite3.connect(tmp_path / BUS_FILE) as database:
        long_ago = int(time.time()) - topology.CONTROL_AGE_DAYS * topology.DAY_SECONDS - 60
        database.execute("UPDATE decisions SET told = ? WHERE execution_id <> 'later'", (long_ago,))
    database.close()

    bus = EmbeddedBus(state_dir=tmp_path, forget_first_seconds=1.0)
    await bus.open(frozenset({"default"}))
    try:
        # Whoever was away says again what it has in hand, before anything is forgotten.
        assert await bus.decisions.decide(claims[1]) == claims[1]
        await eventually(lambda: bus.decisions.decision_for("done", 1), lambda found: found is None)
        assert [await bus.decisions.decision_for(name, 1) for name in ("running", "later")] == claims[1:]
        watching = aiter(bus.decisions.watch())
        await bus.decisions.decide(new := claim("new"))
        assert await soon(anext(watching)) == new
    finally:
        await bus.close()
