"""The page of a run, for people: docs/benchmarks/results.md. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

_CAPTIONS = {
    "latency.svg": "How many runs had ended after which time, one at a time",
    "throughput.svg": "Completions a second against the number of callers, when what was kept ready is used up",
    "memory.svg": "The gateway's memory against the number of executions that wait",
    "path.svg": "Where the time of one execution goes",
}


def page(told: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The whole page, in Markdown."""
    parts = [_head(told), _ratios(told), _honesty(told), *_pictures(pictures), _measured(told), _backlog(told), _paths(told)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(told: Mapping[str, Any]) -> str:
    machine = told["machine"]
    libraries = ", ".join(f"{name} {version}" for name, version in machine.get("libraries", {}).items())
    load = ", ".join(f"{value:g}" for value in told["load_average"])
    of = {name: machine.get(name) for name in ("commit", "processor", "memory_gib", "system", "kernel", "containerd", "runc")}
    of |= {name: machine.get(name) for name in ("storage", "cgroups", "rabbitmq", "python", "sqlite")}
    quick = ", quick" if told["quick"] else ""
    lines = [
        "# Results of a run",
        "",
        f"Made by `make bench` from commit {of['commit']}, {told['at']}; {told['rounds']} rounds{quick},"
        f" {round(told['took_seconds'] / 60)} minutes.",
        f"{machine['processors']} cores ({of['processor']}), {of['memory_gib']} GiB, {of['system']}, kernel {of['kernel']};"
        f" Docker {machine['docker']}, containerd {of['containerd']}, runc {of['runc']}, {of['storage']}, cgroups"
        f" {of['cgroups']}; RabbitMQ {of['rabbitmq']}; Python {of['python']}, SQLite {of['sqlite']}; {libraries}.",
        "",
        f"Load average at the start and after each round: {load}.",
    ]
    if told["load_average"][0] > machine["processors"]:
        lines.append(
            "**The machine had other work before this began: the figures say little, and the absolute times nothing.**"
        )
    if machine.get("niceness"):
        lines.append("**Our processes were niced, and Docker's were not: the figures are too bad for us.**")
    lines += [f"**Failed: {failure}**" for failure in told["failures"]]
    return "\n".join(lines)


def _ratios(told: Mapping[str, Any]) -> str:
    lines = ["| figure | value (rounds) | bar | goal | |", "| --- | --- | --- | --- | --- |"]
    for key, ratio in told["ratios"].items():
        sign = "≥" if ratio["better"] == "higher" else "≤"
        rounds = ", ".join(f"{one:.2f}" for one in ratio["rounds"])
        value = f"**{ratio['value']:.2f}** ({rounds})" if ratio["value"] is not None else ratio["why"]
        if "goal_value" in ratio:
            value += f"; for the goal {ratio['goal_value']:.2f}"
        value += "".join(f"<br>{name}: {beside:.2f}" for name, beside in ratio.get("beside", {}).items())
        lines.append(
            f"| `{key}`: {ratio['title']} | {value} | {sign} {ratio['bar']:g} | {sign} {ratio['goal']:g} | {ratio['verdict']} |"
        )
    return "\n".join(lines)


def _honesty(told: Mapping[str, Any]) -> str:
    honesty = told["honesty"]
    passed = sum(check["ok"] for check in honesty["checks"].values())
    lines = [
        f"{sum(honesty['runs'].values())} runs of ours were looked at, in {honesty['containers']} containers;"
        f" {passed} of {len(honesty['checks'])} checks of limits, exit codes, output and containers passed."
    ]
    ready = [f"{name} {warm} of {runs}" for name, (warm, runs) in honesty["warm"].items()]
    lines += [f"Runs whose container was ready: {', '.join(ready)}."] if ready else []
    return "\n".join([*lines, *(f"**Offence: {offence}**" for offence in honesty["offences"])])


def _pictures(pictures: Sequence[str]) -> list[str]:
    return [f"![{_CAPTIONS.get(name, name)}]({name})" for name in pictures]


def _measured(told: Mapping[str, Any]) -> str:
    lines = ["## All that was measured", "", "| series | n | p50 | p95 |", "| --- | --- | --- | --- |"]
    lines += [f"| {name} | {one['count']} | {one['p50']:.2f} | {one['p95']:.2f} |" for name, one in told["summary"].items()]
    return "\n".join(lines)


def _backlog(told: Mapping[str, Any]) -> str:
    rows = told["notes"].get("backlog")
    if not rows:
        return ""
    names = list(rows[0])
    lines = ["## Beside a backlog", "", f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    return "\n".join([*lines, *(f"| {' | '.join(str(row[name]) for name in names)} |" for row in rows)])


def _paths(told: Mapping[str, Any]) -> str:
    parts = []
    for name, stages in told["profiles"].items():
        lines = [
            f"## Where the time of `{name}` goes",
            "",
            "| until | at ms | took ms | p10 | p95 |",
            "| --- | --- | --- | --- | --- |",
        ]
        for stage in stages:
            took = " | ".join(f"{stage[name]:.2f}" for name in ("took_ms", "took_p10_ms", "took_p95_ms"))
            lines.append(f"| {stage['stage']} | {stage['at_ms']:.1f} | {took} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
