"""Events that the view takes in a second: in batches as the projector gives them, and one commit an event. On disk both."""

import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack

from bus.messages import Record
from hub.view import View
from schemas.output import StreamSummary
from tests.benchmarks.bench import Bench
from tests.benchmarks.interleaving import turns
from tests.support.records import NOON, asked, ended, numbered, running, told

NAME = "projection"
KEYS = ("projector_batch",)

#: Kind → events a transaction.
_KINDS = {"batched": 100, "one_by_one": 1}
#: Events that one kind stores before it is another one's turn.
_AT_ONCE = 100
#: Executions that are under way at a time, and finished ones that are kept: all.
_UNDER_WAY, _KEEP = 16, 1_000_000


async def play(bench: Bench, number: int) -> None:
    """One round: all kinds store the same events, by turns, each into a fresh file."""
    records = _lives(bench.options.size(1000, 160))
    parts = [records[first : first + _AT_ONCE] for first in range(0, len(records), _AT_ONCE)]
    seconds = dict.fromkeys(_KINDS, 0.0)
    async with AsyncExitStack() as stack:
        views = {}
        for kind in _KINDS:
            folder = bench.folder / "views" / f"{number}-{kind}"
            folder.mkdir(parents=True)
            views[kind] = View(folder / "view.db")
            stack.push_async_callback(views[kind].close)
            await views[kind].open()
            # The product's view is disposable and says NORMAL; the figure asks what batches gain where commits are on disk.
            await views[kind]._write(lambda connection: connection.execute("PRAGMA synchronous = FULL"))
        order = turns(list(_KINDS), len(parts), seed=bench.options.seed * 1000 + number)
        for part, turn in zip(parts, order, strict=True):
            for kind in turn:
                seconds[kind] += await _store(views[kind], part, _KINDS[kind])
        stored = {kind: (await view.statistics()).total for kind, view in views.items()}
    assert stored == dict.fromkeys(_KINDS, len(records) // 3), stored
    for kind in _KINDS:
        bench.record(f"projected_per_second/{kind}", number, len(records) / seconds[kind])


async def _store(view: View, records: Sequence[Record], at_once: int) -> float:
    began = time.monotonic()
    for first in range(0, len(records), at_once):
        await view.apply_log(records[first : first + at_once], keep_finished=_KEEP)
    return time.monotonic() - began


def _lives(executions: int) -> list[Record]:
    """The log of so many executions: their commands, starts and ends."""
    records: list[Record] = []
    for first in range(0, executions, _UNDER_WAY):
        ids = [str(uuid.uuid4()) for _ in range(min(_UNDER_WAY, executions - first))]
        records += [asked(id_, parameters={"number": 1}, submitted_by="somebody", accepted_at=NOON.isoformat()) for id_ in ids]
        records += [told(running(id_, container_id="c" * 64)) for id_ in ids]
        records += [told(ended(id_, started_at=NOON, stdout=StreamSummary())) for id_ in ids]
    return numbered(*records)
