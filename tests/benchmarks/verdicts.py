"""From what was measured to figures that are met or missed. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.benchmarks.figures import FIGURES, Better, Figure, Quotient
from tests.benchmarks.samples import Series, by_round, middle, quotients

#: Why a series that nobody asked for was not measured.
NOT_PART = "not part of this run"


class Verdict(StrEnum):
    """How a figure stands."""

    GOAL = "goal met"
    BAR = "bar met"
    MISSED = "missed"
    #: It was not measured: never a guess in its place.
    MISSING = "not measured"


@dataclass(frozen=True, slots=True)
class Judged:
    """A figure as this run has it."""

    figure: Figure
    verdict: Verdict
    #: Median over the rounds; ``None`` where it was not measured.
    value: float | None = None
    #: In the order of the rounds.
    rounds: tuple[float, ...] = ()
    #: What the goal was held against, where that is another value.
    goal_value: float | None = None
    #: By name; those that were measured.
    beside: Mapping[str, float] = field(default_factory=dict)
    #: Why it was not measured.
    why: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For results/bench.json."""
        told: dict[str, Any] = {
            "value": _rounded(self.value),
            "bar": self.figure.bar,
            "goal": self.figure.goal,
            "better": self.figure.better.value,
            "verdict": self.verdict.value,
            "meets_bar": None if self.value is None else self.verdict in (Verdict.BAR, Verdict.GOAL),
            "meets_goal": None if self.value is None else self.verdict is Verdict.GOAL,
            "rounds": [_rounded(value) for value in self.rounds],
            "title": self.figure.title,
        }
        if self.goal_value is not None:
            told["goal_value"] = _rounded(self.goal_value)
        if self.beside:
            told["beside"] = {name: _rounded(value) for name, value in self.beside.items()}
        if self.why is not None:
            told["why"] = self.why
        return told


def judge(measured: Mapping[str, Series], reasons: Mapping[str, str] | None = None) -> list[Judged]:
    """Every figure, in the order of the table. ``reasons`` says by series why it was not measured."""
    return [_judge(figure, measured, reasons or {}) for figure in FIGURES]


def _judge(figure: Figure, measured: Mapping[str, Series], reasons: Mapping[str, str]) -> Judged:
    beside = {name: middle(values) for name, quotient in figure.beside if (values := _values(quotient, measured))}
    values = _values(figure.quotient, measured)
    if not values:
        wanted = [name for name in (figure.quotient.numerator, figure.quotient.denominator) if name is not None]
        missing = [name for name in wanted if not any(measured.get(name, {}).values())]
        why = "; ".join(f"{name}: {reasons.get(name, NOT_PART)}" for name in missing)
        return Judged(figure, Verdict.MISSING, beside=beside, why=why or "no round has both sides of it")
    value = middle(values)
    goal_value = None
    if figure.goal_quotient is not None:
        goal_values = _values(figure.goal_quotient, measured)
        goal_value = middle(goal_values) if goal_values else None
        meets_goal = goal_value is not None and meets(goal_value, figure.goal, figure.better)
    else:
        meets_goal = meets(value, figure.goal, figure.better)
    verdict = Verdict.MISSED
    if meets(value, figure.bar, figure.better):
        verdict = Verdict.GOAL if meets_goal else Verdict.BAR
    return Judged(figure, verdict, value, tuple(values), goal_value, beside)


def meets(value: float, limit: float, better: Better) -> bool:
    """Whether the value is at least as good as the limit."""
    return value >= limit if better is Better.HIGHER else value <= limit


def _values(quotient: Quotient, measured: Mapping[str, Series]) -> list[float]:
    numerator = measured.get(quotient.numerator, {})
    if quotient.denominator is None:
        found = by_round(numerator, quotient.statistic)
    else:
        found = quotients(numerator, measured.get(quotient.denominator, {}), quotient.statistic)
    return [found[number] for number in sorted(found)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
