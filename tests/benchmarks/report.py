"""What is written and printed, from what was measured. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.samples import Series, everything, percentile
from tests.benchmarks.verdicts import NOT_PART, Judged, Verdict

_MARKS = {Verdict.GOAL: "✔✔", Verdict.BAR: "✔", Verdict.MISSED: "✘", Verdict.MISSING: "–"}
#: Stages that are printed: those that take longest.
_STAGES_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A whole run, before anybody has judged it."""

    at: str
    took_seconds: float
    rounds: int
    quick: bool
    machine: Mapping[str, Any]
    #: One minute's, at the start and after each round.
    load_average: Sequence[float]
    series: Mapping[str, Series]
    #: By series: why it was not measured.
    reasons: Mapping[str, str]
    profiles: Mapping[str, Any]
    honesty: Mapping[str, Any]
    failures: Sequence[str]
    notes: Mapping[str, Any] = field(default_factory=dict)


def document(run: Measurement, judged: Sequence[Judged]) -> dict[str, Any]:
    """The content of results/bench.json."""
    return {
        "at": run.at,
        "took_seconds": round(run.took_seconds),
        "rounds": run.rounds,
        "quick": run.quick,
        "machine": dict(run.machine),
        "load_average": list(run.load_average),
        "ratios": {one.figure.key: one.to_json() for one in judged},
        "honesty": dict(run.honesty),
        "failures": list(run.failures),
        "summary": {name: summary(series) for name, series in sorted(run.series.items())},
        "profiles": dict(run.profiles),
        "notes": dict(run.notes),
        "missing": dict(sorted(run.reasons.items())),
        "samples": {
            name: {str(number): [_short(value) for value in values] for number, values in series.items()}
            for name, series in sorted(run.series.items())
        },
    }


def summary(series: Series) -> dict[str, float]:
    """All rounds of a series in a few numbers."""
    values = everything(series)
    return {"count": len(values), **{f"p{percent}": _short(percentile(values, percent)) for percent in (50, 95)}}


def text(told: Mapping[str, Any]) -> str:
    """What is printed."""
    parts = [_ratios(told), _series(told), _profiles(told), _honesty(told)]
    return "\n".join(part for part in parts if part)


def _ratios(told: Mapping[str, Any]) -> str:
    verdicts = {verdict.value: _MARKS[verdict] for verdict in Verdict}
    lines = [
        f"{'':2} {'figure':<20} {'value':>8} {'rounds':<22} {'bar':>7} {'goal':>7}  verdict",
    ]
    for key, ratio in told["ratios"].items():
        if "why" in ratio and not _was_tried(ratio["why"]):
            continue
        sign = ">=" if ratio["better"] == "higher" else "<="
        value = "" if ratio["value"] is None else f"{ratio['value']:.2f}"
        rounds = " ".join(f"{one:.2f}" for one in ratio["rounds"])
        bar, goal = f"{sign}{ratio['bar']:g}", f"{sign}{ratio['goal']:g}"
        why = f": {ratio['why']}" if "why" in ratio else ""
        line = f"{verdicts[ratio['verdict']]:2} {key:<20} {value:>8} {rounds:<22} {bar:>7} {goal:>7}  {ratio['verdict']}{why}"
        lines.append(line)
        lines += [f"     {name}: {beside:.2f}" for name, beside in ratio.get("beside", {}).items()]
    return "\n".join(lines) + "\n"


def _was_tried(why: str) -> bool:
    return any(not part.endswith(NOT_PART) for part in why.split("; "))


def _series(told: Mapping[str, Any]) -> str:
    lines = [f"{'measured':<44} {'n':>5} {'p50':>10} {'p95':>10}"]
    lines += [f"{name:<44} {one['count']:>5} {one['p50']:>10.2f} {one['p95']:>10.2f}" for name, one in told["summary"].items()]
    return "\n".join(lines) + "\n"


def _profiles(told: Mapping[str, Any]) -> str:
    lines = []
    for name, stages in told["profiles"].items():
        lines.append(f"where the time of {name} goes (ms, median; the longest of {len(stages)} stages)")
        longest = sorted(stages, key=lambda stage: -stage["took_ms"])[:_STAGES_SHOWN]
        lines += [
            f"  {stage['took_ms']:>8.2f}  until {stage['stage']} (at {stage['at_ms']:.1f})"
            for stage in stages
            if stage in longest
        ]
    return "\n".join(lines) + "\n" if lines else ""


def _honesty(told: Mapping[str, Any]) -> str:
    honesty = told["honesty"]
    runs, checks = sum(honesty["runs"].values()), honesty["checks"]
    lines = [
        f"{runs} runs of ours in {honesty['containers']} containers, each used once and by nobody before;"
        f" {sum(check['ok'] for check in checks.values())} of {len(checks)} checks passed"
    ]
    lines += [f"{name}: the container was ready in {warm} of {runs} runs" for name, (warm, runs) in honesty["warm"].items()]
    lines += [f"OFFENCE  {offence}" for offence in honesty["offences"]]
    lines += [f"FAILED   {failure}" for failure in told["failures"]]
    if told["load_average"][0] > told["machine"]["processors"]:
        lines.append("BUSY     the machine had other work before this began: the figures say little")
    if told["machine"].get("niceness"):
        lines.append("NICED    our processes gave way to others, Docker's did not: the figures are too bad for us")
    load = ", ".join(f"{value:g}" for value in told["load_average"])
    lines.append(
        f"{told['rounds']} rounds, {told['took_seconds']} s; load average {load} on {told['machine']['processors']} cores"
    )
    return "\n".join(lines) + "\n"


def _short(value: float) -> float:
    return round(value, 3)
