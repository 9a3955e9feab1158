"""The view on real SQLite files."""

import asyncio
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.messages import Position, Record, StreamName
from gateway.errors import ViewUnavailable
from hub import counters, view_queries, view_schema, view_writer
from hub.log_entries import Skip
from hub.rows import text_of, time_of
from hub.view import View
from schemas.cloud_events import CONTENT_TYPE
from schemas.events import parse_event
from schemas.executions import CleanedUp, Held, Statistics, Wanted
from schemas.output import Output, StreamSummary
from schemas.output import StreamName as ProgramStream
from schemas.reasons import Category, Reason
from schemas.status import Status
from schemas.times import utc_now
from tests.support.records import (
    NOON,
    asked,
    attempt_ended,
    chunk,
    cleanup,
    ended,
    in_chunks,
    numbered,
    progressed,
    report,
    retried,
    running,
    told,
    uid,
)

ONE, TWO, THREE = uid(1), uid(2), uid(3)
MANY = 10_000


async def fold_in(view: View, *records: Record, keep: int = MANY) -> view_writer.AppliedLog:
    """Append these records to the log and apply them as one batch."""
    position = await view.position(StreamName.LOG)
    start = 0 if position is None else position.offset + 1
    return await view.apply_log(numbered(*records, start=start), keep_finished=keep)


async def pour(view: View, *records: Record) -> view_writer.AppliedOutput:
    """Append these records to the output stream and apply them as one batch."""
    position = await view.position(StreamName.OUTPUT)
    return await view.apply_output(numbered(*records, start=0 if position is None else position.offset + 1))


def sums(statistics: Statistics) -> dict[Status, dict[str, int]]:
    """The counts that are not empty."""
    return {status: programs for status, programs in statistics.by_status.items() if programs}


async def test_progress_is_shown_while_queued_counted_nowhere_and_announced_in_its_place_r12(view: View) -> None:
    applied = await fold_in(view, asked(ONE), progressed(ONE, 1, percent=45))

    found = await view.find(ONE)
    assert found is not None
    assert (found.progress, found.progress_at) == ("Pulling image img (45 %)", NOON + timedelta(seconds=1))
    assert (applied.transitions, applied.ended) == (2, set())
    assert sums(await view.statistics()) == {Status.QUEUED: {"prog": 1}}

    # Read again, it counts once; and a start ends it.
    assert (await view.apply_log(numbered(asked(ONE), progressed(ONE, 1)), keep_finished=MANY)).transitions == 0
    await fold_in(view, told(running(ONE)))
    found = await view.find(ONE)
    assert found is not None
    assert (found.progress, found.progress_at) == (None, None)
    keys = [transition.key for transition in await view.transitions_after(None, 10)]
    assert keys == ["execution.queued.prog", "execution.progress.prog", "execution.running.prog"]


async def test_lines_around_the_program_are_with_the_output_and_in_no_list(view: View) -> None:
    await fold_in(view, told(ended(ONE, lines_before="[pip] six\n", lines_after="[hub] bye\n")))

    output = await view.output(ONE)
    assert (output.before, output.stdout, output.after) == (b"[pip] six\n", b"", b"[hub] bye\n")
    ((_, listed),) = (await view.page(10, Wanted(), None)).rows
    assert (listed.before, listed.after) == (b"", b"")


async def test_an_execution_is_found_as_it_was_stored(view: View) -> None:
    await fold_in(
        view,
        asked(ONE, parameters={"a": [1, None, "ñ"]}, submitted_by="ada", accepted_at=NOON.isoformat(), reply_to="reply.q"),
        told(running(ONE, image="img", container_id="c")),
        told(
            ended(
                ONE,
                Status.FAILED,
                exit_code=137,
                oom_killed=True,
                reason=Reason.OUT_OF_MEMORY,
                category=Category.EXECUTION,
                message="Too much.",
                stdout=StreamSummary.inline(b"out", total=9, chunks=2),
            )
        ),
    )

    found = await view.find(ONE)

    assert found is not None
    assert (found.program_id, found.status, found.attempt, found.parameters) == (
        "prog",
        Status.FAILED,
        1,
        {"a": [1, None, "ñ"]},
    )
    assert (found.accepted_at, found.started_at, found.ended_at) == (NOON, NOON, NOON + timedelta(minutes=1))
    assert (found.runner_id, found.image, found.container_id, found.was_warm) == ("r1", "img", "c", False)
    assert (found.exit_code, found.oom_killed, found.message) == (137, True, "Too much.")
    assert (found.reason, found.category) == (Reason.OUT_OF_MEMORY, Category.EXECUTION)
    assert found.stdout is not None
    assert (found.stdout.total_bytes, found.stdout.truncated, found.stdout.content) == (9, True, None)
    assert (found.submitted_by, found.reply_to) == ("ada", "reply.q")
    assert await view.find(TWO) is None


async def test_a_list_leaves_out_the_output_that_would_make_it_too_large(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_queries, "LISTED_OUTPUT_BYTES", 10)
    outputs = {THREE: b"newest", TWO: b"middle", ONE: b"last"}
    for execution_id in (ONE, TWO, THREE):
        await fold_in(view, told(ended(execution_id, stdout=StreamSummary.inline(outputs[execution_id]))))
    listed = {execution.execution_id: output for execution, output in (await view.page(10)).rows}
    assert {execution_id: output.stdout for execution_id, output in listed.items()} == {
        THREE: b"newest",
        TWO: b"",
        ONE: b"last",
    }
    assert [listed[execution_id].complete for execution_id in (THREE, TWO, ONE)] == [True, False, True]
    assert (await view.output(TWO)).stdout == b"middle"


async def test_the_newest_come_first_in_the_order_of_the_log(view: View) -> None:
    """E7: a publisher with a fast clock does not get to the top."""
    await fold_in(view, asked(ONE, accepted_at="2999-01-01T00:00:00Z"), asked(TWO), told(running(ONE)))
    await fold_in(view, asked(THREE, accepted_at=NOON.isoformat()), told(ended(ONE, stdout=StreamSummary.inline(b"x"))))

    newest = (await view.page(10)).rows

    assert [execution.execution_id for execution, _ in newest] == [THREE, TWO, ONE]
    assert [output.stdout for _, output in newest] == [b"", b"", b"x"]
    assert [execution.execution_id for execution, _ in (await view.page(1)).rows] == [THREE]


async def test_the_running_ones_come_with_the_oldest_first(view: View) -> None:
    """E11"""
    early = running(TWO).model_copy(update={"started_at": NOON - timedelta(microseconds=1)})
    await fold_in(view, asked(ONE), asked(TWO), asked(THREE), told(running(ONE)), told(early))

    assert [execution.execution_id for execution in await view.running()] == [TWO, ONE]

    await fold_in(view, told(ended(TWO)))

    assert [execution.execution_id for execution in await view.running()] == [ONE]


async def test_the_counts_follow_an_execution_from_the_typed_name_to_the_canonical_one(view: View) -> None:
    """E9, P5"""
    await fold_in(view, asked(ONE, program="key"), asked(TWO, program="key"))
    assert sums(await view.statistics()) == {Status.QUEUED: {"key": 2}}

    await fold_in(view, told(running(ONE, program="18")))
    assert sums(await view.statistics()) == {Status.QUEUED: {"key": 1}, Status.RUNNING: {"18": 1}}

    await fold_in(view, told(ended(ONE, program="18")), told(ended(TWO, Status.FAILED, program="18")))
    statistics = await view.statistics()
    assert sums(statistics) == {Status.COMPLETED: {"18": 1}, Status.FAILED: {"18": 1}}
    assert statistics.total == 2
    assert set(statistics.by_status) == set(Status)


async def test_names_that_nobody_has_configured_do_not_fill_the_counters(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    """E9"""
    monkeypatch.setattr(counters, "MOST_COUNTERS", 10)
    monkeypatch.setattr(counters, "COUNTERS_LEFT", 6)
    usual = [uid(number) for number in range(100, 105)]
    await fold_in(view, *map(asked, usual), *(told(ended(execution_id)) for execution_id in usual))
    names = [f"invented-{number:02}" for number in range(30)]
    for number, name in enumerate(names):
        await fold_in(view, asked(uid(number), program=name))
        assert (await view.statistics()).total == len(usual) + number + 1
        await fold_in(view, told(ended(uid(number), Status.FAILED, program=name)))
    await fold_in(view, asked(uid(50), program="waits"))

    statistics = await view.statistics()
    assert statistics.total == len(usual) + len(names) + 1
    assert statistics.by_status[Status.COMPLETED] == {"prog": 5}, "the rarest go first"
    assert statistics.by_status[Status.QUEUED] == {"waits": 1}
    failed = statistics.by_status[Status.FAILED]
    assert (len(failed) <= 10, sum(failed.values()), failed["unknown"] > 20) == (True, 30, True)


async def test_recent_counts_what_was_accepted_in_the_last_day(view: View) -> None:
    """E9"""
    now = utc_now()
    day = timedelta(hours=24)
    times = [now, now - day + timedelta(minutes=2), now - day - timedelta(minutes=2), now + timedelta(days=365)]
    await fold_in(view, *(asked(uid(number), accepted_at=time.isoformat()) for number, time in enumerate(times)))
    assert (await view.statistics()).recent == 2

    # A bare command without a time counts from the moment that one is known, and only once.
    await fold_in(view, asked(uid(7)))
    assert (await view.statistics()).recent == 2
    await fold_in(view, told(running(uid(7)).model_copy(update={"started_at": now})))
    await fold_in(view, told(ended(uid(7), ended_at=now)))
    assert (await view.statistics()).recent == 3


@pytest.mark.parametrize(("keep", "left"), [(3, 3), (2, 2), (1, 1)])
async def test_the_oldest_finished_are_removed_and_the_counts_stay(view: View, keep: int, left: int) -> None:
    """E13, B10, E12"""
    finished = [uid(number) for number in (5, 4, 3)]
    now = utc_now()
    for execution_id in finished:
        await fold_in(view, asked(execution_id, accepted_at=now.isoformat()))
    await fold_in(view, asked(ONE), asked(TWO), told(running(ONE)))
    for execution_id in finished:
        await fold_in(view, told(ended(execution_id, stdout=StreamSummary.inline(b"x"))), keep=keep)

    kept = {execution.execution_id for execution, _ in (await view.page(10)).rows}

    assert kept == {ONE, TWO, *finished[-left:]}
    statistics = await view.statistics()
    assert sums(statistics) == {Status.COMPLETED: {"prog": 3}, Status.RUNNING: {"prog": 1}, Status.QUEUED: {"prog": 1}}
    assert statistics.recent == 3
    assert (await view.output(finished[0])).stdout == (b"x" if left == 3 else b"")


async def test_live_executions_are_never_removed(view: View) -> None:
    """E13"""
    ids = [uid(number) for number in range(20)]
    await fold_in(view, *(asked(execution_id) for execution_id in ids), keep=1)
    await fold_in(view, *(told(running(execution_id)) for execution_id in ids[:10]), keep=1)
    await fold_in(view, told(ended(ids[0])), told(ended(ids[1])), keep=1)

    assert {execution.execution_id for execution, _ in (await view.page(100)).rows} == set(ids[1:])


async def test_a_late_record_does_not_bring_a_removed_execution_back(view: View) -> None:
    command, end = asked(ONE), told(ended(ONE))
    await fold_in(view, command, end, asked(TWO), told(ended(TWO)), keep=1)

    applied = await fold_in(view, command, end, keep=1)
    await pour(view, chunk(ONE, 0, b"late"))

    assert (applied.transitions, applied.ended) == (0, set())
    assert applied.skipped == {Skip.REMOVED: 2}
    assert await view.find(ONE) is None
    assert await view.output(ONE) == Output()
    assert (await view.statistics()).total == 2


async def test_output_that_came_with_the_ending_is_complete_at_once(view: View) -> None:
    await fold_in(
        view,
        asked(ONE),
        told(ended(ONE, stdout=StreamSummary.inline(b"\x00\xffout"), stderr=StreamSummary.inline(b"err", total=99))),
    )

    assert await view.output(ONE) == Output(stdout=b"\x00\xffout", stderr=b"err", stderr_truncated=True, complete=True)


async def test_output_is_put_together_from_chunks_in_their_order_and_counts_until_it_is_complete(view: View) -> None:
    every_byte = bytes(range(256))
    pieces = [every_byte[:100], every_byte[100:101], every_byte[101:]]
    await pour(view, chunk(ONE, 2, pieces[2]), chunk(ONE, 0, pieces[0]))
    assert await view.output(ONE) == Output()

    await fold_in(view, asked(ONE), told(running(ONE)))
    assert await view.output(ONE) == Output(stdout=pieces[0] + pieces[2])

    await fold_in(view, told(ended(ONE, stdout=in_chunks(256, 3))))
    assert (await view.output(ONE)).complete is False
    assert await view.is_output_complete(ONE) is False

    await pour(view, chunk(ONE, 1, pieces[1]), chunk(ONE, 1, pieces[1]))
    assert await view.output(ONE) == Output(stdout=every_byte, complete=True)
    assert await view.is_output_complete(ONE) is True


async def test_chunks_of_the_two_streams_do_not_mix(view: View) -> None:
    """E14"""
    await fold_in(view, asked(ONE), told(ended(ONE, stdout=in_chunks(1, 1), stderr=in_chunks(1, 1))))
    await pour(view, chunk(ONE, 0, b"o"), chunk(ONE, 0, b"e", stream=ProgramStream.STDERR))

    assert await view.output(ONE) == Output(stdout=b"o", stderr=b"e", complete=True)


@pytest.mark.parametrize("chunks_first", [True, False])
async def test_output_in_the_ending_supersedes_its_chunks(view: View, chunks_first: bool, tmp_path: Path) -> None:
    end = told(ended(ONE, stdout=StreamSummary.inline(b"all of it", chunks=2)))
    pieces = [chunk(ONE, 0, b"all "), chunk(ONE, 1, b"of it")]
    if chunks_first:
        await pour(view, *pieces)
        await fold_in(view, asked(ONE), end)
    else:
        await fold_in(view, asked(ONE), end)
        await pour(view, *pieces)

    assert await view.output(ONE) == Output(stdout=b"all of it", complete=True)
    assert _count(tmp_path / "view.db", "output_chunks") == 0


async def test_what_is_no_output_is_counted(view: View) -> None:
    good = chunk(ONE, 0, b"x")
    applied = await pour(view, told(running(ONE)), asked(ONE), good, Record(
        position=good.position, source=good.source, key="output.prog.other", message=good.message
    ))  # fmt: skip

    assert applied.executions == {ONE}
    assert applied.malformed == 3


async def test_records_that_were_applied_before_change_nothing(view: View) -> None:
    """A reader that begins too early, or two of them, count nothing twice."""
    batch = numbered(asked(ONE), told(running(ONE)), told(ended(ONE)))
    await view.apply_log(batch[:2], keep_finished=MANY)

    applied = await view.apply_log(batch, keep_finished=MANY)
    again = await view.apply_log(batch, keep_finished=MANY)

    assert (applied.transitions, again.transitions) == (1, 0)
    assert await view.position(StreamName.LOG) == Position(2, f"{ONE}:end")
    assert sums(await view.statistics()) == {Status.COMPLETED: {"prog": 1}}


async def test_a_batch_that_fails_leaves_no_trace(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    await fold_in(view, asked(ONE))

    def full_disk(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        # The very last step of the transaction.
        patched.setattr(view_writer, "_move_to", full_disk)
        with pytest.raises(ViewUnavailable, match="disk is full"):
            await fold_in(view, asked(TWO), told(ended(ONE)))

    assert await view.find(TWO) is None
    assert sums(await view.statistics()) == {Status.QUEUED: {"prog": 1}}
    assert await view.position(StreamName.LOG) == Position(0, ONE)
    await fold_in(view, asked(TWO), told(ended(ONE)))
    assert (await view.statistics()).total == 2


async def test_transitions_are_read_in_the_order_of_the_log_and_can_be_trimmed(view: View) -> None:
    await fold_in(view, asked(ONE, reply_to="reply.q", correlation_id="42"), told(running(ONE)), asked(TWO), told(ended(ONE)))

    stored = await view.transitions_after(None, 10)

    assert [(transition.offset, transition.key) for transition in stored] == [
        (0, "execution.queued.prog"),
        (1, "execution.running.prog"),
        (2, "execution.queued.prog"),
        (3, "execution.completed.prog"),
    ]
    last = stored[-1]
    assert (last.reply_to, last.message.correlation_id) == ("reply.q", "42")
    assert (last.message.id, last.message.content_type) == (f"{ONE}:end", CONTENT_TYPE)
    assert last.message.timestamp == parse_event(last.message.body).time == NOON + timedelta(minutes=1)
    assert [transition.offset for transition in await view.transitions_after(0, 2)] == [1, 2]

    await view.trim_transitions(2)

    assert [transition.offset for transition in await view.transitions_after(None, 10)] == [2, 3]


async def test_a_view_keeps_what_it_holds_over_a_restart(tmp_path: Path) -> None:
    for expected in (None, Position(0, ONE)):
        view = View(tmp_path / "deep" / "view.db")
        await view.open()
        assert await view.position(StreamName.LOG) == expected
        await view.apply_log(numbered(asked(ONE)), keep_finished=MANY)
        await view.close()
        await view.close()


@pytest.mark.parametrize("spoil", ["version", "garbage"])
async def test_a_view_of_another_version_or_of_no_kind_is_made_anew(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "view.db"
    if spoil == "garbage":
        path.write_bytes(b"this is no database" * 1000)
    else:
        view = View(path)
        await view.open()
        await view.apply_log(numbered(asked(ONE)), keep_finished=MANY)
        await view.close()
        with sqlite3.connect(path) as connection:
            connection.execute(f"PRAGMA user_version = {view_schema.VERSION + 1}")
        connection.close()

    view = View(path)
    await view.open()

    assert await view.position(StreamName.LOG) is None
    assert await view.find(ONE) is None
    await view.close()


async def test_the_file_is_readable_by_its_owner_alone(view: View, tmp_path: Path) -> None:
    await fold_in(view, asked(ONE))

    assert {file.stat().st_mode & 0o777 for file in tmp_path.glob("view.db*")} == {0o600}


async def test_a_view_that_is_not_open_says_so(tmp_path: Path) -> None:
    view = View(tmp_path / "view.db")
    with pytest.raises(ViewUnavailable):
        await view.find(ONE)
    await view.close()
    with pytest.raises(ViewUnavailable):
        await view.find(ONE)


async def test_readers_see_a_batch_whole_or_not_at_all(view: View) -> None:
    """Every execution is counted under one status at any moment, while batches are being written."""
    done = asyncio.Event()
    totals: list[int] = []

    async def watch() -> None:
        while not done.is_set():
            totals.append((await view.statistics()).total)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        for number in range(30):
            ids = [uid(number * 10 + index) for index in range(10)]
            await fold_in(view, *(asked(execution_id) for execution_id in ids))
            await fold_in(view, *(told(running(execution_id)) for execution_id in ids))
        done.set()

    assert totals == sorted(totals)
    assert {total % 10 for total in totals} == {0}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(1, 39), max_size=6))
def test_the_view_is_the_same_however_the_log_was_cut(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cuts: list[int]
) -> None:
    """E9: and its sums equal a recount of its rows."""
    chance = random.Random(seed)
    ids = [uid(number) for number in range(6)]
    log = numbered(*(_any_record(chance, chance.choice(ids)) for _ in range(40)))

    async def project(edges: list[int]) -> tuple[object, ...]:
        view = View(tmp_path_factory.mktemp("view") / "view.db", readers=1)
        await view.open()
        try:
            for start, stop in pairwise(edges):
                await view.apply_log(log[start:stop], keep_finished=MANY)
            return (await view.page(100)).rows, await view.statistics(), await view.transitions_after(None, 100)
        finally:
            await view.close()

    whole = asyncio.run(project([0, len(log)]))
    cut = asyncio.run(project([0, *sorted(set(cuts)), len(log)]))

    assert whole == cut
    newest, statistics, _ = whole
    assert isinstance(newest, list)
    assert isinstance(statistics, Statistics)
    recount: dict[Status, dict[str, int]] = {status: {} for status in Status}
    for execution, _ in newest:
        programs = recount[execution.status]
        programs[execution.program_id] = programs.get(execution.program_id, 0) + 1
    assert statistics.by_status == recount


def _any_record(chance: random.Random, execution_id: str) -> Record:
    attempt = chance.randint(1, 3)
    match chance.randrange(8):
        case 0 | 1:
            return asked(execution_id, program=chance.choice(["key", "18"]))
        case 2 | 3:
            return told(running(execution_id, program="18", attempt=attempt))
        case 4:
            return told(attempt_ended(execution_id, attempt, program_id="18"))
        case 5:
            return retried(execution_id, attempt + 1)
        case _:
            return told(ended(execution_id, chance.choice([Status.COMPLETED, Status.FAILED]), program="18"))


def _count(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    try:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)
    finally:
        connection.close()


def test_times_are_stored_in_a_form_that_sorts() -> None:
    moments = [datetime(1, 1, 1, tzinfo=UTC), NOON, NOON + timedelta(microseconds=1), NOON + timedelta(seconds=1)]

    texts = [text_of(moment) or "" for moment in moments]

    assert texts == sorted(texts)
    assert [time_of(text) for text in texts] == moments


async def test_e12_a_cleanup_removes_what_had_ended_at_its_place_in_the_log_and_leaves_the_statistics(view: View) -> None:
    await fold_in(view, asked(ONE), told(running(ONE)), told(ended(ONE)), asked(TWO), told(running(TWO)), asked(THREE))
    await pour(view, chunk(ONE, 0, b"late"))
    before = sums(await view.statistics())

    applied = await fold_in(view, cleanup(), told(ended(TWO)), told(ended(ONE)))

    assert applied.cleanups == {uid(99): CleanedUp(removed=1, remaining=2)}
    # What ended after the cleanup stays, and a repeated ending brings nothing back.
    assert await view.find(ONE) is None
    assert (await view.output(ONE)) == Output()
    two, three = await view.find(TWO), await view.find(THREE)
    assert two is not None
    assert (two.status, three and three.status) == (Status.COMPLETED, Status.QUEUED)
    assert sum(sum(programs.values()) for programs in before.values()) == (await view.statistics()).total == 3
    assert (await view.held()) == Held(total=2, finished=1)


async def test_a_cleanup_means_the_same_wherever_batches_are_cut(tmp_path: Path) -> None:
    log = [asked(ONE), told(ended(ONE)), cleanup(97), asked(TWO), told(ended(TWO)), told(ended(ONE)), cleanup(98), asked(THREE)]
    outcomes = []
    for cut in range(len(log) + 1):
        view = View(tmp_path / f"{cut}.db", readers=1)
        await view.open()
        for part in (log[:cut], log[cut:]):
            if part:
                await fold_in(view, *part)
        left = [execution.execution_id for execution, _ in (await view.page(10)).rows]
        outcomes.append((left, sums(await view.statistics()), await view.held()))
        await view.close()

    assert outcomes == [outcomes[0]] * len(outcomes)
    assert outcomes[0][0] == [THREE]


async def test_what_is_no_cleanup_under_the_key_of_cleanups_is_skipped_and_removes_nothing(view: View) -> None:
    await fold_in(view, asked(ONE), told(ended(ONE)))

    applied = await fold_in(view, report("x", b'{"specversion": "1.0"}', key="execution.cleanup.hub"))

    assert (applied.cleanups, applied.skipped) == ({}, {Skip.MALFORMED_EVENT: 1})
    assert await view.find(ONE) is not None


async def test_m32_pages_of_the_view_keep_their_place_while_executions_come_in(view: View) -> None:
    await fold_in(view, *(asked(uid(number), program="a" if number % 2 else "b") for number in range(1, 8)))
    first = await view.page(2, Wanted(program_ids=frozenset({"a"})))
    await fold_in(view, asked(uid(9), program="a"))

    second = await view.page(2, Wanted(program_ids=frozenset({"a"})), first.next)

    assert [execution.execution_id for execution, _ in first.rows] == [uid(7), uid(5)]
    assert [execution.execution_id for execution, _ in second.rows] == [uid(3), uid(1)]
    assert second.next is None


async def test_m32_the_view_filters_as_the_rule_for_one_execution_does(view: View) -> None:
    times = [NOON + timedelta(minutes=minute, microseconds=minute) for minute in range(6)]
    for number, moment in enumerate(times, 1):
        await fold_in(view, asked(uid(number), accepted_at=moment.isoformat(), program=f"p{number % 2}"))
    await fold_in(view, asked(uid(7)), told(ended(uid(2), program="p0")), told(running(uid(3), program="p1")))
    everything = [execution for execution, _ in (await view.page(100)).rows]

    for wanted in (
        Wanted(status=Status.QUEUED),
        Wanted(status=Status.RUNNING, program_ids=frozenset({"p1", "other"})),
        Wanted(since=times[2]),
        Wanted(until=times[2]),
        Wanted(since=times[1], until=times[4], program_ids=frozenset({"p0"})),
    ):
        assert [execution for execution, _ in (await view.page(100, wanted)).rows] == [
            execution for execution in everything if wanted.matches(execution)
        ]
