import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bus.messages import StreamName as BusStream
from runner.claimed import Claimed, ClaimState
from runner.errors import JournalClosed, JournalError, JournalLocked
from runner.journal import Journal
from runner.outgoing import Report
from runner.output import Piece
from runner.steps import Step
from runner.writer_thread import WriterThread
from schemas.commands import ExecuteProgram
from schemas.ids import new_execution_id
from schemas.output import StreamName
from schemas.times import utc_now
from tests.support.runner_fixtures import a_course
from tests.support.wait import eventually

COMMAND = ExecuteProgram(program_id="example", parameters={"a": [1, "ä"]}, submitted_by="ann", accepted_at=utc_now())


def report(number: int, execution_id: str = "x", size: int = 10) -> Report:
    return Report(execution_id, BusStream.OUTPUT, "output.p.x", f"m{number}", bytes(size))


async def claim(journal: Journal) -> Claimed:
    claimed = journal.new_claim(new_execution_id(), 1, "digest", COMMAND)
    assert await journal.claim(claimed)
    return claimed


async def test_what_was_claimed_is_not_claimed_again_and_keeps_its_nonce(journal: Journal) -> None:
    claimed = await claim(journal)
    again = journal.new_claim(claimed.execution_id, 1, "other digest", COMMAND)
    assert not await journal.claim(again)
    assert await journal.claims() == [claimed]
    other_attempt = journal.new_claim(claimed.execution_id, 2, "digest", COMMAND)
    assert await journal.claim(other_attempt)
    assert len({each.nonce for each in (claimed, again, other_attempt)}) == 3


async def test_how_far_a_claim_came_survives_a_new_life(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.db")
    await first.open()
    epoch, started_at = first.epoch, utc_now()
    claimed = await claim(first)
    course = a_course("canonical").begin(Step.PROGRAM, start_before="", written_before={StreamName.STDOUT: 3})
    await first.starting(claimed, course)
    await first.started(claimed, started_at, report(1))
    await first.wrote(claimed, Piece(StreamName.STDOUT, 0, b"12345"), report(2))
    await first.wrote(claimed, Piece(StreamName.STDOUT, 1, b"678"), report(3))
    await first.wrote(claimed, Piece(StreamName.STDERR, 0, b"9"), report(4))
    await first.close()

    second = Journal(tmp_path / "journal.db")
    await second.open()
    assert second.epoch == epoch
    assert second.outbox_bytes == 40
    (kept,) = await second.claims()
    assert (kept.key, kept.nonce, kept.command) == (claimed.key, claimed.nonce, COMMAND)
    assert (kept.state, kept.program_id, kept.started_at) == (ClaimState.STARTING, "canonical", started_at)
    assert kept.course == course
    assert (kept.stdout.total_bytes, kept.stdout.chunks, kept.stderr.total_bytes, kept.stderr.chunks) == (8, 2, 1, 1)
    assert [waiting.report for waiting in await second.next_reports(10)] == [report(number) for number in (1, 2, 3, 4)]
    await second.close()


async def test_the_end_and_its_reports_are_one_fact(journal: Journal) -> None:
    claimed = await claim(journal)
    await journal.ended(claimed, report(1), report(2))
    (kept,) = await journal.claims()
    assert kept.state is ClaimState.ENDED
    waiting = await journal.next_reports(10)
    assert journal.outbox_bytes == 20
    await journal.told(waiting[:1])
    assert await journal.next_reports(10) == waiting[1:]
    assert journal.outbox_bytes == 10
    await journal.forget(claimed)
    assert await journal.claims() == []


async def test_a_second_runner_on_the_same_journal_is_told_which_setting_to_change(tmp_path: Path, journal: Journal) -> None:
    second = Journal(tmp_path / "journal.db")
    with pytest.raises(JournalLocked, match="HUB_STATE_DIR"):
        await second.open()
    await second.close()


async def test_a_journal_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(b"no database at all" * 100)
    journal = Journal(tmp_path / "bad.db")
    with pytest.raises(JournalError, match=r"bad\.db can't be used"):
        await journal.open()
    await journal.close()


async def test_what_was_written_is_there_after_a_sigkill_and_the_lock_is_not(tmp_path: Path) -> None:
    program = f"""
        import asyncio, os, signal
        from pathlib import Path
        from runner.journal import Journal
        from schemas.commands import ExecuteProgram

        async def main():
            journal = Journal(Path({str(tmp_path / "journal.db")!r}))
            await journal.open()
            command = ExecuteProgram(program_id="x")
            await journal.claim(journal.new_claim("01a20afb-890e-728b-8a27-c7e1c8c72c78", 1, "d", command))
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """
    process = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", textwrap.dedent(program)], cwd=Path(__file__).parents[3], check=False
    )
    assert process.returncode == -9

    journal = Journal(tmp_path / "journal.db")
    await journal.open()
    assert len(await journal.claims()) == 1
    await journal.close()


async def test_while_the_disk_is_full_writers_wait_and_go_on_when_there_is_space_again(tmp_path: Path) -> None:
    writer = WriterThread(tmp_path / "file.db", "CREATE TABLE IF NOT EXISTS t (x BLOB)")
    await asyncio.to_thread(writer.open)
    await writer.do(lambda db: db.execute("PRAGMA max_page_count = 10").fetchall())
    blocked = asyncio.create_task(writer.do(lambda db: db.execute("INSERT INTO t VALUES (zeroblob(200000))").rowcount))

    async def problem() -> str | None:
        return writer.problem

    assert "full" in (await eventually(problem) or "")
    assert not blocked.done()
    connection = writer._connection
    assert connection is not None
    connection.execute("PRAGMA max_page_count = 100000")
    assert await asyncio.wait_for(blocked, 10) == 1
    assert writer.problem is None
    await asyncio.to_thread(writer.close)


async def test_work_that_fails_by_itself_fails_alone(tmp_path: Path) -> None:
    writer = WriterThread(tmp_path / "file.db", "CREATE TABLE IF NOT EXISTS t (x INTEGER PRIMARY KEY)")
    await asyncio.to_thread(writer.open)

    def insert(number: int) -> "asyncio.Task[int]":
        return asyncio.create_task(writer.do(lambda db: db.execute("INSERT INTO t VALUES (?)", (number,)).rowcount))

    results = await asyncio.gather(insert(1), insert(1), insert(2), return_exceptions=True)
    assert sum(isinstance(result, Exception) for result in results) == 1
    assert await writer.do(lambda db: db.execute("SELECT count(*) FROM t").fetchone()) == (2,)
    await asyncio.to_thread(writer.close)


async def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    await journal.open()
    await journal.close()
    await journal.close()
    with pytest.raises(JournalClosed):
        await journal.claims()
