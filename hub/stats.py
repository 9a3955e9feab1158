"""How the statistics move when rows change: each execution is in exactly one counter, whatever it is called meanwhile."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from schemas.executions import Execution
from schemas.status import Status


@dataclass(frozen=True, slots=True)
class Moves:
    """What is to be added to the counters; the sum over ``counters`` is the number of new executions."""

    #: (status, program id) → difference.
    counters: Counter[tuple[Status, str]] = field(default_factory=Counter)
    #: Minute since 1970 → difference.
    acceptances: Counter[int] = field(default_factory=Counter)


def moves(changes: Iterable[tuple[Execution | None, Execution]]) -> Moves:
    """The differences that rows (before, after) make."""
    sums = Moves()
    for before, after in changes:
        for row, step in ((before, -1), (after, 1)):
            if row is None:
                continue
            sums.counters[row.status, row.program_id] += step
            moment = row.accepted_at or row.started_at or row.ended_at
            # A bare publish may not say when it was made; it counts from the moment that something is known.
            if moment is not None:
                sums.acceptances[minute_of(moment)] += step
    return sums


def minute_of(moment: datetime) -> int:
    """The minute since 1970 that a point in time lies in."""
    return int(moment.timestamp() // 60)
