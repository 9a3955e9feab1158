"""The projector: from the bus into the view, exactly once, whatever happens on the way."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from bus.errors import BusUnavailable
from bus.messages import Position, StreamName
from hub import view_writer
from hub.endings import Endings
from hub.projector import Projector
from hub.view import View
from schemas.executions import Execution
from schemas.status import Status
from tests.support.hub_bus import FakeStreams
from tests.support.records import asked, chunk, ended, in_chunks, running, told, uid
from tests.support.wait import eventually

ONE, TWO = uid(1), uid(2)


class Bench:
    """A projector with its surroundings."""

    def __init__(self, view: View, *, keep: int = 1000) -> None:
        self.view = view
        self.streams = FakeStreams()
        self.endings = Endings(view)
        self.keep = keep
        self.rung = 0
        self.new_logs = 0

    def projector(self) -> Projector:
        return Projector(
            self.streams,
            self.view,
            self.endings,
            keep_finished=lambda: self.keep,
            on_transitions=self.ring,
            on_new_log=self.begin_anew,
        )

    def begin_anew(self) -> None:
        self.new_logs += 1

    def ring(self) -> None:
        self.rung += 1

    @asynccontextmanager
    async def projecting(self) -> AsyncIterator[Projector]:
        projector = self.projector()
        task = asyncio.create_task(projector.run())
        try:
            yield projector
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, execution_id: str, status: Status) -> Execution:
        async def look() -> Execution | None:
            return await self.view.find(execution_id)

        found = await eventually(look, lambda seen: seen is not None and seen.status is status, within_seconds=20)
        assert found is not None
        return found

    async def total(self) -> int:
        return (await self.view.statistics()).total


@pytest.fixture
def bench(view: View) -> Bench:
    return Bench(view)


async def test_log_and_output_arrive_in_the_view_as_they_come(bench: Bench) -> None:
    async with bench.projecting():
        bench.streams.write(StreamName.LOG, asked(ONE))
        await bench.until(ONE, Status.QUEUED)
        bench.streams.write(StreamName.LOG, told(running(ONE)))
        await bench.until(ONE, Status.RUNNING)
        bench.streams.write(StreamName.OUTPUT, chunk(ONE, 0, b"hello"))
        bench.streams.write(StreamName.LOG, told(ended(ONE, stdout=in_chunks(5, 1))))

        assert await bench.endings.wait(ONE, 5) is True
        assert (await bench.view.output(ONE)).stdout == b"hello"
        assert (await bench.view.output(ONE)).complete


async def test_whoever_announces_is_told_of_each_batch_with_transitions(bench: Bench) -> None:
    async with bench.projecting():
        bench.streams.write(StreamName.LOG, asked(ONE))
        await bench.until(ONE, Status.QUEUED)

        # The view shows a batch a moment before whoever announces is told of it.
        async def rung() -> int:
            return bench.rung

        before = await eventually(rung)
        bench.streams.write(StreamName.LOG, asked(ONE), asked(ONE))
        bench.streams.write(StreamName.LOG, asked(TWO))
        await bench.until(TWO, Status.QUEUED)

        assert await eventually(rung, lambda count: count > before) == before + 1


async def test_it_goes_on_after_what_the_view_holds(bench: Bench) -> None:
    bench.streams.write(StreamName.LOG, asked(ONE))
    bench.streams.write(StreamName.OUTPUT, chunk(ONE, 0, b"x"))
    async with bench.projecting():
        await bench.until(ONE, Status.QUEUED)
        await eventually(lambda: bench.view.position(StreamName.OUTPUT))
    bench.streams.write(StreamName.LOG, told(running(ONE)))
    bench.streams.reads.clear()

    async with bench.projecting():
        await bench.until(ONE, Status.RUNNING)

    assert set(bench.streams.reads) == {
        (StreamName.LOG, Position(0, ONE)),
        (StreamName.OUTPUT, Position(0, f"{ONE}:1:stdout:0")),
    }


async def test_stopped_at_any_moment_it_counts_everything_once(bench: Bench) -> None:
    ids = [uid(number) for number in range(300)]
    bench.streams.batch_size = 7
    for execution_id in ids:
        bench.streams.write(StreamName.LOG, asked(execution_id), told(running(execution_id)), told(ended(execution_id)))
    stops = 0

    while await bench.total() < len(ids):
        async with bench.projecting():
            await asyncio.sleep(0.003 * (stops % 5))
        stops += 1
    async with bench.projecting():
        await bench.until(ids[-1], Status.COMPLETED)

    assert stops > 1
    statistics = await bench.view.statistics()
    assert statistics.by_status[Status.COMPLETED] == {"prog": 300}
    assert statistics.total == 300
    stored = await bench.view.transitions_after(None, 2000)
    assert [transition.offset for transition in stored] == list(range(900))


async def test_a_bus_that_goes_away_is_read_again_from_the_same_place(bench: Bench) -> None:
    bench.streams.failures = [BusUnavailable("gone"), BusUnavailable("still gone")]
    bench.streams.write(StreamName.LOG, asked(ONE))

    async with bench.projecting() as projector:
        await bench.until(ONE, Status.QUEUED)
        # The bus says by itself what is wrong with it.
        assert projector.problem is None


async def test_a_full_disk_is_reported_and_nothing_is_lost_once_there_is_space(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True
    move_to = view_writer._move_to

    def no_space(connection: sqlite3.Connection, stream: StreamName, position: Position) -> None:
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        move_to(connection, stream, position)

    monkeypatch.setattr(view_writer, "_move_to", no_space)
    bench.streams.write(StreamName.LOG, asked(ONE), told(ended(ONE)))
    async with bench.projecting() as projector:

        async def problem() -> str | None:
            return projector.problem

        assert "disk is full" in str(await eventually(problem))
        assert await bench.view.find(ONE) is None

        full = False
        await bench.until(ONE, Status.COMPLETED)
        await eventually(problem, lambda seen: seen is None)
    assert await bench.total() == 1


async def test_a_mistake_of_ours_ends_it_instead_of_being_tried_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(view_writer, "fold", broken)
    bench.streams.write(StreamName.LOG, asked(ONE))

    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(bench.projector().run(), 5)

    assert caught.group_contains(ZeroDivisionError)


async def test_every_reader_is_closed_when_it_is_left(bench: Bench) -> None:
    bench.streams.failures = [BusUnavailable("gone")]
    bench.streams.write(StreamName.LOG, asked(ONE))
    async with bench.projecting():
        await bench.until(ONE, Status.QUEUED)
        assert bench.streams.open_reads == 2

    assert bench.streams.open_reads == 0


async def test_odd_records_are_counted_and_hold_nothing_up(bench: Bench) -> None:
    with capture_logs() as logs:
        async with bench.projecting():
            bench.streams.write(
                StreamName.LOG,
                asked(ONE, body=b"garbage"),
                told(running(ONE), key="execution.completed.prog"),
                asked(TWO),
                asked(TWO),
            )
            await bench.until(TWO, Status.QUEUED)

    (line,) = [log for log in logs if log["action"] == "records_skipped"]
    assert (line["malformed_command"], line["wrong_key"]) == (1, 1)
    assert "duplicate" not in line


async def test_the_number_of_finished_executions_kept_may_change_while_it_runs(bench: Bench) -> None:
    """E13: config.yaml is reloaded"""
    async with bench.projecting():
        bench.streams.write(StreamName.LOG, *(told(ended(uid(number))) for number in range(5)))
        await bench.until(uid(4), Status.COMPLETED)
        assert len((await bench.view.page(10)).rows) == 5

        bench.keep = 2
        bench.streams.write(StreamName.LOG, told(ended(uid(9))))
        await bench.until(uid(9), Status.COMPLETED)

    assert [execution.execution_id for execution, _ in (await bench.view.page(10)).rows] == [uid(9), uid(4)]
    assert await bench.total() == 6


async def test_bus6_a_log_that_was_cut_is_said_and_read_on(bench: Bench) -> None:
    async with bench.projecting():
        bench.streams.write(StreamName.LOG, asked(ONE))
        await bench.until(ONE, Status.QUEUED)
    bench.streams.write(StreamName.LOG, told(running(ONE)), told(ended(ONE)), asked(TWO))
    bench.streams.trim(StreamName.LOG, 3)
    async with bench.projecting() as projector:
        await bench.until(TWO, Status.QUEUED)
        assert "removed before they were read" in (projector.gaps.problem or "")
    assert [after for _, after in bench.streams.reads if _ is StreamName.LOG] == [None, Position(0, ONE), None]
    async with bench.projecting() as projector:
        bench.streams.write(StreamName.LOG, told(ended(ONE)))
        await bench.until(ONE, Status.COMPLETED)
        assert projector.gaps.problem is None


async def test_the_last_record_that_was_read_may_be_the_only_one_that_is_gone(bench: Bench) -> None:
    async with bench.projecting():
        bench.streams.write(StreamName.LOG, asked(ONE))
        await bench.until(ONE, Status.QUEUED)
    bench.streams.write(StreamName.LOG, told(ended(ONE)))
    bench.streams.trim(StreamName.LOG, 1)
    async with bench.projecting() as projector:
        await bench.until(ONE, Status.COMPLETED)
        assert projector.gaps.problem is None


@pytest.mark.parametrize("longer", [False, True])
async def test_bus6_a_log_that_was_replaced_is_read_from_its_beginning_and_the_view_keeps_what_it_has(
    bench: Bench, *, longer: bool
) -> None:
    three, four = uid(3), uid(4)
    async with bench.projecting():
        bench.streams.write(StreamName.LOG, asked(ONE), asked(TWO), told(ended(TWO)), told(running(ONE)))
        await bench.until(ONE, Status.RUNNING)
    bench.streams.replace(StreamName.LOG, asked(three), told(ended(three)), told(ended(ONE)))
    if longer:
        bench.streams.write(StreamName.LOG, asked(four), asked(uid(5)))
    bench.keep = 2
    async with bench.projecting() as projector:
        await bench.until(ONE, Status.COMPLETED)
        assert "is another one than before" in (projector.gaps.problem or "")
        assert bench.new_logs == 1

        # The oldest goes first, and that is the one of the other log.
        async def found() -> list[str]:
            return sorted(row.execution_id for row in await bench.view.find_all([ONE, TWO, three]))

        assert await eventually(found, lambda seen: TWO not in seen) == [ONE, three]
    totals = (await bench.view.statistics()).by_status
    assert totals[Status.COMPLETED] == {"prog": 3}
    assert [transition.offset for transition in await bench.view.transitions_after(None, 10)][:3] == [0, 1, 2]


async def test_bus6_output_that_was_replaced_is_read_from_its_beginning(bench: Bench) -> None:
    async with bench.projecting():
        bench.streams.write(StreamName.OUTPUT, chunk(ONE, 0, b"a"), chunk(ONE, 1, b"b"))
        await eventually(lambda: bench.view.position(StreamName.OUTPUT), lambda seen: seen is not None and seen.offset == 1)
    bench.streams.replace(StreamName.OUTPUT, chunk(ONE, 2, b"c"))
    bench.streams.write(StreamName.LOG, asked(ONE), told(ended(ONE, stdout=in_chunks(3, 3))))
    async with bench.projecting() as projector:
        await bench.until(ONE, Status.COMPLETED)
        assert await bench.endings.wait(ONE, 5) is True
        assert "output" in (projector.gaps.problem or "")
    assert (await bench.view.output(ONE)).stdout == b"abc"
