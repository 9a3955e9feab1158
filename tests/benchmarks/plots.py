"""Pictures of a run, drawn from what results/bench.json holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

# The same run gives the same bytes.
mpl.rcParams |= {
    "svg.hashsalt": "pyexecutorhub",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}
_METADATA = {"Date": None, "Creator": None}
#: Series → how it is called, and its colour; in the order of the legend.
_LATENCIES = {
    "docker_run": ("docker run --rm", "#7f7f7f"),
    "docker_run_none": ("docker run --rm --network none", "#b5b5b5"),
    "aiodocker": ("aiodocker loop", "#c49c94"),
    "cold": ("ours, cold", "#1f77b4"),
    "cold_none": ("ours, cold, no network", "#6baed6"),
    "warm": ("ours, warm", "#2ca02c"),
    "warm_none": ("ours, warm, no network", "#98df8a"),
    "preload": ("ours, preloaded", "#d62728"),
    "subprocess": ("same path, subprocess without sandbox", "#9467bd"),
    "embedded_cold": ("ours, cold, embedded bus", "#17becf"),
    "embedded_warm": ("ours, warm, embedded bus", "#bcbd22"),
}
_LOOPS = {
    "docker_run": _LATENCIES["docker_run"],
    "docker_run_none": _LATENCIES["docker_run_none"],
    "aiodocker": _LATENCIES["aiodocker"],
    "ours_cold": _LATENCIES["cold"],
    "ours_cold_none": _LATENCIES["cold_none"],
    "ours": _LATENCIES["warm"],
    "ours_none": _LATENCIES["warm_none"],
}


def draw(told: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw what there is data for; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, plot in (("latency", _latency), ("throughput", _throughput), ("memory", _memory), ("path", _path)):
        figure = plot(told)
        if figure is None:
            continue
        path = folder / f"{name}.svg"
        figure.savefig(path, metadata=_METADATA, bbox_inches="tight")
        plt.close(figure)
        drawn.append(path)
    return drawn


def _pooled(told: Mapping[str, Any], series: str) -> list[float]:
    return sorted(value for values in told["samples"].get(series, {}).values() for value in values)


def _latency(told: Mapping[str, Any]) -> Any:
    """What share of the runs had ended after which time."""
    found = {name: values for name in _LATENCIES if (values := _pooled(told, f"latency_ms/{name}"))}
    if not found:
        return None
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for name, values in found.items():
        label, colour = _LATENCIES[name]
        shares = [(number + 1) / len(values) * 100 for number in range(len(values))]
        axes.step(values, shares, where="post", label=f"{label} (n = {len(values)})", color=colour)
    axes.set(
        xscale="log",
        xlabel="milliseconds from asking to the result, one at a time",
        ylabel="% of the runs that had ended",
        ylim=(0, 100),
        title=_title("Latency", told),
    )
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _throughput(told: Mapping[str, Any]) -> Any:
    """Completions a second by the number of callers."""
    lines: dict[str, dict[int, float]] = {}
    for series in told["samples"]:
        head, _, name = series.partition("/")
        if head.startswith("saturated_") and name in _LOOPS:
            values = _pooled(told, series)
            lines.setdefault(name, {})[int(head.split("_")[1])] = values[len(values) // 2]
    if not lines:
        return None
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for name in (name for name in _LOOPS if name in lines):
        label, colour = _LOOPS[name]
        points = sorted(lines[name].items())
        axes.plot([callers for callers, _ in points], [rate for _, rate in points], marker="o", label=label, color=colour)
    ticks = sorted({callers for points in lines.values() for callers in points})
    axes.set(
        xscale="log",
        xlabel="callers at a time, each asking again as soon as it has its result",
        ylabel="completions a second",
        ylim=(0, None),
        title=_title("Throughput, pool used up", told),
    )
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _memory(told: Mapping[str, Any]) -> Any:
    """The gateway's memory by what waits."""
    points = sorted(
        (int(series.partition("/")[2]), _pooled(told, series)[0])
        for series in told["samples"]
        if series.startswith("gateway_mib/")
    )
    if not points:
        return None
    figure, axes = plt.subplots(figsize=(8, 3.5))
    axes.plot([queued for queued, _ in points], [mib for _, mib in points], marker="o", color="#2ca02c")
    axes.set(
        xscale="log",
        xlabel="executions that wait",
        ylabel="gateway's resident memory, MiB",
        ylim=(0, max(mib for _, mib in points) * 1.2),
        title=_title("Memory against backlog", told),
    )
    return figure


def _path(told: Mapping[str, Any]) -> Any:
    """Where our time goes, stage after stage."""
    profiles = told["profiles"]
    if not profiles:
        return None
    figure, rows = plt.subplots(len(profiles), 1, figsize=(8, 0.6 + 3.2 * len(profiles)), squeeze=False)
    for axes, (name, stages) in zip(rows[:, 0], profiles.items(), strict=True):
        label, colour = _LATENCIES.get(name, (name, "#1f77b4"))
        shown = stages[1:]
        lefts = [stage["at_ms"] for stage in stages[:-1]]
        widths = [stage["at_ms"] - left for stage, left in zip(shown, lefts, strict=True)]
        axes.barh(range(len(shown)), widths, left=lefts, color=colour, height=0.8)
        axes.set_yticks(range(len(shown)), [stage["stage"] for stage in shown], fontsize=5)
        axes.invert_yaxis()
        axes.set(title=f"Where the time goes: {label}" if axes is rows[0, 0] else label)
    rows[-1, 0].set(xlabel="milliseconds since the request")
    figure.tight_layout()
    return figure


def _title(what: str, told: Mapping[str, Any]) -> str:
    machine = told["machine"]
    return f"{what}; {machine['processors']} cores, Docker {machine['docker']}, {told['rounds']} rounds"
