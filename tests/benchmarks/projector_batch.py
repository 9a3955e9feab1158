"""How many events a second the projector stores, batched and one at a time, each commit on the disk.

python -m tests.benchmarks.projector_batch
"""

import sqlite3
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bus.messages import Record
from hub import view_writer
from hub.view_schema import open_writer
from schemas.output import StreamSummary
from tests.support.records import NOON, asked, ended, numbered, running, told, uid

#: Events of one execution: its command, its start and its end.
_EVENTS_EACH = 3
_KEEP_FINISHED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Events a second, of one round or the medians of several."""

    one_by_one: float
    batched: float

    @property
    def ratio(self) -> float:
        """Batched in terms of one by one."""
        return self.batched / self.one_by_one


def log_of(executions: int) -> list[Record]:
    """A log in which each execution is accepted, starts, and ends with a line of output; eight of them at any time."""
    records: list[Record] = []
    for first in range(0, executions, 8):
        ids = [uid(number) for number in range(first, min(first + 8, executions))]
        records += [asked(id_, parameters={"number": 1}, submitted_by="ann", accepted_at=NOON.isoformat()) for id_ in ids]
        records += [told(running(id_, image="image:latest", container_id="c" * 64)) for id_ in ids]
        records += [told(ended(id_, started_at=NOON, stdout=StreamSummary.inline(b"1\n", total=2, chunks=0))) for id_ in ids]
    return numbered(*records)


def measure_round(folder: Path, *, executions: int = 400, batch: int = 100) -> Rates:
    """One round of both, side by side: by turns, so that whatever else the machine does weighs on both."""
    records = log_of(executions)
    views = [_open(folder / name) for name in ("one.db", "batched.db")]
    seconds = [0.0, 0.0]
    try:
        for start in range(0, len(records), batch):
            part = records[start : start + batch]
            seconds[0] += _apply(views[0], [[record] for record in part])
            seconds[1] += _apply(views[1], [part])
    finally:
        for view in views:
            view.close()
    one_by_one, batched = (len(records) / each for each in seconds)
    return Rates(one_by_one=one_by_one, batched=batched)


def measure(rounds: int = 3, *, executions: int = 400, batch: int = 100) -> Rates:
    """The medians of some rounds, each on files of its own."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure_round(Path(folder), executions=executions, batch=batch))
    ratio = median(each.ratio for each in found)
    one_by_one = median(each.one_by_one for each in found)
    return Rates(one_by_one=one_by_one, batched=one_by_one * ratio)


def _open(path: Path) -> sqlite3.Connection:
    view = open_writer(path)
    # Both alike: the view itself does without, as the log has what a power loss takes away.
    view.execute("PRAGMA synchronous = FULL")
    return view


def _apply(view: sqlite3.Connection, batches: list[list[Record]]) -> float:
    started_at = time.perf_counter()
    for batch in batches:
        view_writer.apply_log(view, batch, keep_finished=_KEEP_FINISHED, now=NOON)
    return time.perf_counter() - started_at


if __name__ == "__main__":
    rates = measure()
    print(f"one by one {rates.one_by_one:.0f}/s, batched {rates.batched:.0f}/s: {rates.ratio:.1f}x")  # noqa: T201
