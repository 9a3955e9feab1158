"""The view with many executions: nothing is asked that costs more then, and nothing grows that was let go of."""

import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bus.messages import Record, StreamName
from hub import accepted_spans, view_retention
from hub.view import View
from schemas.executions import Execution, Held, Wanted
from schemas.following import Place
from schemas.output import StreamSummary
from schemas.status import Status
from tests.support.query_plans import Statements, Steps
from tests.support.records import (
    NOON,
    asked,
    attempt_ended,
    chunk,
    cleanup,
    ended,
    numbered,
    progressed,
    retried,
    running,
    told,
    uid,
)

TABLES = ("executions", "removed", "outputs", "output_chunks", "transitions", "acceptances")
#: Whole indexes of few executions each, by their nature: those that run, and those that wait for a retry or were asked to go.
FEW = ("USING INDEX executions_running", "USING INDEX executions_to_retry", "USING INDEX executions_ended")
PROGRAMS = ("p0", "p1", "p2")
QUESTIONS = {
    "everything": Wanted(),
    "one status": Wanted(status=Status.FAILED),
    "a status that none has": Wanted(status=Status.CANCELLED),
    "what waits": Wanted(status=Status.QUEUED),
    "a program": Wanted(program_ids=frozenset({"p1", "its key"})),
    "a program that nobody asked for": Wanted(program_ids=frozenset({"none"})),
    "a program and a status": Wanted(program_ids=frozenset({"p1"}), status=Status.FAILED),
    "long ago": Wanted(until=NOON - timedelta(days=1)),
    "the future": Wanted(since=NOON + timedelta(days=9)),
    "long ago, what waits": Wanted(until=NOON - timedelta(days=1), status=Status.QUEUED),
    "long ago, a program": Wanted(until=NOON - timedelta(days=1), program_ids=frozenset({"p1"})),
}


async def fold_in(view: View, *records: Record, keep: int = 1_000_000) -> None:
    """Append these records to the log and apply them as one batch."""
    position = await view.position(StreamName.LOG)
    start = 0 if position is None else position.offset + 1
    await view.apply_log(numbered(*records, start=start), keep_finished=keep)


async def queue_up(view: View, first: int, count: int) -> None:
    """So many executions that wait, one a second."""
    records = [
        asked(uid(number), program=PROGRAMS[number % 3], accepted_at=(NOON + timedelta(seconds=number)).isoformat())
        for number in range(first, first + count)
    ]
    await fold_in(view, *records)


def connections(view: View) -> list[sqlite3.Connection]:
    """Those of a view, which is at rest."""
    assert view._writer is not None
    readers = [view._idle.get_nowait() for _ in range(view._idle.qsize())]
    for reader in readers:
        view._idle.put(reader)
    return [view._writer, *readers]


async def ask_everything(view: View) -> None:
    """Every question that the hub has."""
    for wanted in QUESTIONS.values():
        for before in (None, 3):
            await view.page(10, wanted, before)
    await view.find(uid(1))
    await view.find_all([uid(1), uid(2)])
    await view.remembered(uid(1))
    await view.output(uid(1))
    await view.is_output_complete(uid(1))
    await view.sight(uid(1), Place())
    await view.running()
    await view.to_retry(10)
    await view.queued_pools()
    await view.queued_before("default", datetime.now(UTC), limit=10)
    await view.queued_before(None, datetime.now(UTC), after=("2020", 3), limit=10)
    await view.held()
    await view.statistics()
    await view.position(StreamName.LOG)
    await view.transitions_after(None, 10)
    await view.transitions_after(3, 10)


async def do_everything(view: View) -> None:
    """Every change that the hub makes."""
    out = StreamSummary.inline(b"out")
    await fold_in(view, *(asked(uid(number), accepted_at=NOON.isoformat()) for number in range(8)))
    await fold_in(view, told(running(uid(0))), progressed(uid(1)), told(attempt_ended(uid(2))), retried(uid(2)))
    await fold_in(view, *(told(ended(uid(number), stdout=out)) for number in (0, 3, 4)), keep=2)
    await view.apply_output(numbered(chunk(uid(5), 0, b"x"), chunk(uid(0), 0, b"x")))
    await fold_in(view, cleanup(), told(ended(uid(6))))
    await view.trim_transitions(5)


async def test_m35_no_question_and_no_change_walks_through_a_table(view: View) -> None:
    statements = Statements()
    with statements.listening(*connections(view)):
        await do_everything(view)
        await ask_everything(view)

    assert len(statements) > 60
    found = statements.scans(connections(view)[0], *TABLES)
    assert [(detail, statement) for detail, statement in found if not detail.endswith(FEW)] == []


async def test_m35_a_list_costs_the_same_however_many_wait(view: View) -> None:
    async def cost(ask: Callable[[], Awaitable[object]]) -> int:
        counts = [Steps(reader, 10) for reader in connections(view)[1:]]
        await ask()
        return sum(count.taken for count in counts)

    async def costs() -> dict[str, int]:
        found = {name: await cost(lambda wanted=wanted: view.page(20, wanted)) for name, wanted in QUESTIONS.items()}  # type: ignore[misc]
        found["held"] = await cost(view.held)
        found["statistics"] = await cost(view.statistics)
        found["pools"] = await cost(view.queued_pools)
        found["the oldest"] = await cost(lambda: view.queued_before("default", NOON, limit=10))
        found["a record"] = await cost(lambda: view.find(uid(7)))
        return found

    await fold_in(view, *(told(ended(uid(10_000 + number), Status.FAILED, program="p1")) for number in range(50)))
    await queue_up(view, 0, 500)
    few = await costs()
    for first in range(500, 8_000, 500):
        await queue_up(view, first, 500)
    many = await costs()

    assert (await view.held()).total == 8_050
    # A look through all of them would be fifteen times as much; a hundred steps are a row or two.
    assert {name: (few[name], cost) for name, cost in many.items() if cost > 1.5 * few[name] + 100} == {}


async def test_a_list_by_time_is_what_a_look_at_each_execution_gives(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepted_spans, "BLOCK", 4)
    chance = random.Random(3)
    records = []
    for number in range(60):
        # Mostly in order, as publishers' clocks are; some are far off, and some say nothing.
        seconds = number if chance.random() < 0.7 else chance.randrange(-50, 100)
        said: dict[str, Any] = {} if chance.random() < 0.1 else {"accepted_at": (NOON + timedelta(seconds=seconds)).isoformat()}
        records.append(asked(uid(number), program=chance.choice(PROGRAMS), **said))
        if chance.random() < 0.5:
            of = chance.randrange(number + 1)
            records.append(told(ended(uid(of), chance.choice((Status.FAILED, Status.COMPLETED)))))
    for part in range(0, len(records), 7):
        await fold_in(view, *records[part : part + 7], keep=15)
    everything = [execution for execution, _ in (await view.page(1_000)).rows]
    assert len(everything) == (await view.held()).total

    for _ in range(300):
        wanted = Wanted(
            status=chance.choice((None, None, *Status)),
            program_ids=chance.choice((None, frozenset({"p1"}), frozenset({"p0", "p2"}), frozenset({"prog"}))),
            since=chance.choice((None, NOON + timedelta(seconds=chance.randrange(-60, 110)))),
            until=chance.choice((None, NOON + timedelta(seconds=chance.randrange(-60, 110)))),
        )
        limit = chance.randrange(1, 12)
        seen: list[Execution] = []
        before: int | None = None
        while True:
            page = await view.page(limit, wanted, before)
            assert len(page.rows) == limit or page.next is None
            seen += [execution for execution, _ in page.rows]
            if page.next is None:
                break
            before = page.next
        assert seen == [execution for execution in everything if wanted.matches(execution)], wanted


async def test_what_is_held_is_known_without_counting(view: View) -> None:
    chance = random.Random(5)
    for _ in range(60):
        number = chance.randrange(30)
        record = chance.choice(
            (
                asked(uid(number)),
                told(running(uid(number))),
                told(ended(uid(number), chance.choice((Status.FAILED, Status.COMPLETED)))),
                told(attempt_ended(uid(number))),
                cleanup(1_000 + chance.randrange(10**9)),
            )
        )
        await fold_in(view, record, record, keep=5)
        everything = [execution for execution, _ in (await view.page(1_000)).rows]
        finished = sum(execution.status.is_terminal for execution in everything)
        assert await view.held() == Held(total=len(everything), finished=finished)


@dataclass
class Clock:
    """A clock that tests set."""

    now: datetime = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


async def finish(view: View, first: int, count: int, *, keep: int) -> None:
    """So many executions come and end, with output inside the event, with pieces of it, and with attempts."""
    numbers = range(first, first + count)
    out = StreamSummary.inline(b"x" * 2_000)
    await fold_in(view, *(asked(uid(number), parameters={"a": "b" * 200}) for number in numbers), keep=keep)
    await fold_in(view, *(told(attempt_ended(uid(number), stdout=out)) for number in numbers), keep=keep)
    position = await view.position(StreamName.OUTPUT)
    start = 0 if position is None else position.offset + 1
    pieces = [chunk(uid(number), 0, b"y" * 2_000, attempt=2) for number in numbers]
    await view.apply_output(numbered(*pieces, start=start))
    await fold_in(view, *(told(ended(uid(number), attempt=2, stderr=out)) for number in numbers), keep=keep)
    position = await view.position(StreamName.LOG)
    assert position is not None
    await view.trim_transitions(position.offset - 100)


def pages(path: Path) -> int:
    """Pages of the file that hold something."""
    with closing(sqlite3.connect(path)) as database:
        (all_pages,) = database.execute("PRAGMA page_count").fetchone()
        (free,) = database.execute("PRAGMA freelist_count").fetchone()
    held: int = all_pages - free
    return held


async def test_m35_however_many_have_ended_the_file_holds_those_that_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_retention, "MOST_TOMBSTONES", 200)
    view = View(tmp_path / "view.db", readers=1)
    await view.open()
    try:
        for number in range(5):
            await finish(view, 100 * number, 100, keep=100)
        before = pages(tmp_path / "view.db")
        for number in range(5, 20):
            await finish(view, 100 * number, 100, keep=100)
        assert await view.held() == Held(total=100, finished=100)
        assert (await view.statistics()).total == 2_000
        assert pages(tmp_path / "view.db") < 1.1 * before
    finally:
        await view.close()


async def test_m35_what_is_let_go_of_is_given_back_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_retention, "_FREE_PAGES", 16)
    path = tmp_path / "view.db"
    view = View(path, readers=1)
    await view.open()
    try:
        await finish(view, 0, 500, keep=500)
        await view.close()
        full = path.stat().st_size
        view = View(path, readers=1)
        await view.open()
        await fold_in(view, cleanup())
        for number in range(10):
            await fold_in(view, asked(uid(1_000 + number)))
        await view.close()
        assert path.stat().st_size < 0.6 * full
    finally:
        await view.close()


async def test_m35_where_nobody_announces_transitions_are_kept_for_the_hours_in_which_the_log_grew(tmp_path: Path) -> None:
    clock = Clock()
    view = View(tmp_path / "view.db", clock=clock)
    await view.open()

    async def oldest() -> int:
        return (await view.transitions_after(None, 1))[0].offset

    try:
        for number in range(view_retention.TRANSITION_HOURS):
            await fold_in(view, asked(uid(number)))
            clock.now += timedelta(hours=1)
        assert await oldest() == 0
        # An outage of a month is no reason to forget what was not announced before it.
        clock.now += timedelta(days=30)
        await fold_in(view, asked(uid(10_000)))
        assert await oldest() == 1
        await fold_in(view, asked(uid(10_001)))
        assert await oldest() == 1
        # Another log has other places.
        await view.begin_anew(StreamName.LOG)
        await fold_in(view, asked(uid(10_002)))
        assert await oldest() == 0
    finally:
        await view.close()


async def test_m35_counts_of_acceptances_go_while_the_hub_runs(tmp_path: Path) -> None:
    clock = Clock()
    view = View(tmp_path / "view.db", clock=clock)
    await view.open()
    try:
        for number in range(5):
            await fold_in(view, asked(uid(number), accepted_at=clock.now.isoformat()))
            clock.now += timedelta(days=1)
        with closing(sqlite3.connect(tmp_path / "view.db")) as database:
            (minutes,) = database.execute("SELECT count(*) FROM acceptances").fetchone()
        assert minutes == 3
    finally:
        await view.close()
