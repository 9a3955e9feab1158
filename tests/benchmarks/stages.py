"""Where the time of an execution goes, from the marks of all processes. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.samples import percentile

ASKED, ANSWERED = "client: asks", "client: has the answer"


@dataclass(frozen=True, slots=True)
class Stage:
    """A point on the way."""

    name: str
    #: Milliseconds from the request on, median …
    at_ms: float
    #: … and since the point before it, median of the differences.
    took_ms: float
    #: Nearly the shortest and the longest: on a busy machine the former tells more than the median.
    took_p10_ms: float
    took_p95_ms: float
    #: How many executions passed it.
    count: int

    def to_json(self) -> dict[str, Any]:
        """For results/bench.json."""
        return {
            "stage": self.name,
            "at_ms": round(self.at_ms, 3),
            "took_ms": round(self.took_ms, 3),
            "took_p10_ms": round(self.took_p10_ms, 3),
            "took_p95_ms": round(self.took_p95_ms, 3),
            "count": self.count,
        }


def read_marks(lines: Iterable[str]) -> dict[str, dict[str, int]]:
    """By execution: when it passed each point for the first time, in nanoseconds."""
    marks: dict[str, dict[str, int]] = {}
    for line in lines:
        at, execution_id, name = line.rstrip("\n").split("\t")
        marks.setdefault(execution_id, {}).setdefault(name, int(at))
    return marks


def profile(marks: Mapping[str, Mapping[str, int]], spans: Mapping[str, tuple[int, int]]) -> list[Stage]:
    """The stages in their usual order. ``spans``: when the client asked for each execution, and had its answer.

    What fewer than half of them passed is left out.
    """
    offsets: dict[str, dict[str, float]] = {}
    for execution_id, (asked, answered) in spans.items():
        points = {ASKED: asked, **marks.get(execution_id, {}), ANSWERED: answered}
        for name, at in points.items():
            offsets.setdefault(name, {})[execution_id] = (at - asked) / 1e6
    usual = {name: percentile(list(by.values()), 50) for name, by in offsets.items() if len(by) * 2 >= len(spans)}
    order = sorted(usual, key=lambda name: (usual[name], name == ANSWERED))
    stages = []
    for number, name in enumerate(order):
        before = offsets[order[number - 1]] if number else {}
        took = [at - before[key] for key, at in offsets[name].items() if key in before] or [0.0]
        half, short, long = (percentile(took, percent) for percent in (50, 10, 95))
        stages.append(Stage(name, usual[name], half, short, long, len(offsets[name])))
    return stages
