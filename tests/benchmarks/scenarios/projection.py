"""Events that the view takes in a second: in batches as the projector gives them, and one commit an event. On disk both."""

import time

from hub.view import View
from tests.benchmarks.bench import Bench
from tests.benchmarks.interleaving import turns
from tests.benchmarks.records import lives

NAME = "projection"
KEYS = ("projector_batch",)

#: Kind → events a transaction.
_KINDS = {"batched": 100, "one_by_one": 1}
#: Finished executions that are kept: all.
_KEEP = 1_000_000


async def play(bench: Bench, number: int) -> None:
    """One round: every kind some times on a fresh file."""
    records = lives(bench.options.size(1000, 200))
    for count, turn in enumerate(turns(list(_KINDS), bench.options.size(3, 1), seed=bench.options.seed * 1000 + number)):
        for kind in turn:
            folder = bench.folder / "views" / f"{number}-{count}-{kind}"
            folder.mkdir(parents=True)
            view = View(folder / "view.db")
            await view.open()
            try:
                # The product's view is disposable and says NORMAL; the figure asks what batches gain where commits are on disk.
                await view._write(lambda connection: connection.execute("PRAGMA synchronous = FULL"))
                began = time.monotonic()
                for first in range(0, len(records), _KINDS[kind]):
                    await view.apply_log(records[first : first + _KINDS[kind]], keep_finished=_KEEP)
                rate = len(records) / (time.monotonic() - began)
                statistics = await view.statistics()
            finally:
                await view.close()
            assert sum(map(len, statistics.by_status.values())) > 0, statistics
            bench.record(f"projected_per_second/{kind}", number, rate)
