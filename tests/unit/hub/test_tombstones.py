"""What the view remembers of executions whose records were removed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bus.messages import Record, StreamName
from hub import view_retention, view_writer
from hub.view import View
from schemas.commands import digest_of, parse_execute
from schemas.executions import Remembered
from schemas.status import Status
from tests.support.records import NOON, asked, cleanup, ended, numbered, told, uid

ONE, TWO = uid(1), uid(2)


@dataclass
class Clock:
    """A clock that tests set."""

    now: datetime = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


async def fold_in(view: View, *records: Record, keep: int = 100) -> view_writer.AppliedLog:
    """Append these records to the log and apply them as one batch."""
    position = await view.position(StreamName.LOG)
    start = 0 if position is None else position.offset + 1
    return await view.apply_log(numbered(*records, start=start), keep_finished=keep)


@pytest.mark.parametrize("how", ["cleanup", "too many"])
async def test_m9_a_removed_execution_is_remembered_with_what_was_asked_and_how_it_ended(view: View, how: str) -> None:
    command = asked(ONE, parameters={"a": 1}, accepted_at=NOON.isoformat())
    known = Remembered(
        execution_id=ONE,
        status=Status.QUEUED,
        digest=digest_of(parse_execute(ONE, command.message.body)[1]),
        accepted_at=NOON,
    )
    await fold_in(view, command)
    assert await view.remembered(ONE) == known
    if how == "cleanup":
        await fold_in(view, told(ended(ONE, Status.FAILED)), cleanup())
    else:
        await fold_in(view, told(ended(ONE, Status.FAILED)), asked(TWO), told(ended(TWO)), keep=1)

    assert await view.find(ONE) is None
    seen = await view.remembered(ONE)
    assert seen == Remembered(execution_id=ONE, status=Status.FAILED, digest=known.digest, accepted_at=NOON, removed=True)
    assert await view.remembered(uid(3)) is None


async def test_a_tombstone_goes_after_three_days_and_not_before(tmp_path: Path) -> None:
    clock = Clock()
    view = View(tmp_path / "view.db", clock=clock)
    await view.open()
    try:
        await fold_in(view, asked(ONE), told(ended(ONE)), cleanup(98))
        clock.now += timedelta(days=3)
        await fold_in(view, asked(TWO), told(ended(TWO)), cleanup(99))
        assert await view.remembered(ONE) is not None
        clock.now += timedelta(seconds=1)
        await view.close()
        view = View(tmp_path / "view.db", clock=clock)
        await view.open()
        assert await view.remembered(ONE) is None
        assert await view.remembered(TWO) is not None
    finally:
        await view.close()


async def test_no_more_tombstones_are_kept_than_fit(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_retention, "MOST_TOMBSTONES", 2)
    for number in (1, 2, 3):
        await fold_in(view, asked(uid(number)), told(ended(uid(number))), cleanup(100 + number))

    assert [await view.remembered(uid(number)) is not None for number in (1, 2, 3)] == [False, True, True]
