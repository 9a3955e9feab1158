"""The table and the file."""

import json
from typing import Any

from tests.benchmarks.figures import FIGURES
from tests.benchmarks.report import Measurement, document, text
from tests.benchmarks.samples import Series
from tests.benchmarks.verdicts import judge

SERIES: dict[str, Series] = {
    "latency_ms/docker_run": {1: [500.0, 510.0], 2: [520.0, 530.0]},
    "latency_ms/cold": {1: [250.0, 260.0], 2: [260.0, 270.0]},
    "latency_ms/subprocess": {1: [20.0], 2: [20.0]},
}
REASONS = {"latency_ms/warm": "config.yaml knows no `warm`"}


def told(**changes: Any) -> dict[str, Any]:
    run: dict[str, Any] = {
        "at": "2026-01-01T00:00:00+00:00",
        "took_seconds": 61.4,
        "rounds": 2,
        "quick": True,
        "machine": {"processors": 2, "docker": "1"},
        "load_average": [0.5, 3.0],
        "series": SERIES,
        "reasons": REASONS,
        "profiles": {
            "cold": [{"stage": "engine: started", "at_ms": 300.0, "took_ms": 280.0, "took_p10_ms": 250.0, "took_p95_ms": 400.0}]
        },
        "honesty": {
            "runs": {"cold": 4},
            "containers": 4,
            "warm": {"warm": (3, 4)},
            "offences": [],
            "checks": {"exit code": {"seen": 7, "ok": True}},
        },
        "failures": [],
    }
    measurement = Measurement(**run | changes)
    return document(measurement, judge(measurement.series, measurement.reasons))


def test_the_file_has_every_figure_under_its_key_with_bar_goal_and_verdict() -> None:
    ratios = told()["ratios"]

    assert list(ratios) == [figure.key for figure in FIGURES]
    assert ratios["cold_p50"]["verdict"] == "goal met"
    assert ratios["cold_p50"]["meets_goal"] is True
    assert (ratios["cold_p50"]["bar"], ratios["cold_p50"]["goal"]) == (1.3, 1.6)
    assert ratios["warm_p50"]["verdict"] == "not measured"
    assert ratios["warm_p50"]["value"] is None


def test_the_file_is_json_and_has_every_sample() -> None:
    read = json.loads(json.dumps(told()))

    assert read["samples"]["latency_ms/cold"] == {"1": [250.0, 260.0], "2": [260.0, 270.0]}
    assert read["summary"]["latency_ms/cold"]["count"] == 4
    assert read["summary"]["latency_ms/cold"]["p50"] == 260.0


def test_the_table_says_what_is_met_and_why_something_is_missing() -> None:
    lines = text(told()).splitlines()

    cold = next(line for line in lines if "cold_p50" in line)
    assert "goal met" in cold
    assert ">=1.3" in cold
    warm = next(line for line in lines if " warm_p50" in line)
    assert "not measured: latency_ms/warm: config.yaml knows no `warm`" in warm


def test_a_figure_that_nobody_asked_for_takes_no_line() -> None:
    assert "warm_mib" not in text(told())


def test_a_miss_is_not_hidden() -> None:
    slow: dict[str, Series] = {**SERIES, "latency_ms/cold": {1: [600.0], 2: [600.0]}}

    assert "✘  cold_p50" in text(told(series=slow))


def test_offences_and_failures_are_printed() -> None:
    honesty = {"runs": {"warm": 1}, "containers": 1, "warm": {}, "offences": ["warm: used before"], "checks": {}}

    printed = text(told(honesty=honesty, failures=["burst, round 1: broke"]))

    assert "OFFENCE  warm: used before" in printed
    assert "FAILED   burst, round 1: broke" in printed


def test_it_tells_how_often_a_warm_container_was_ready() -> None:
    assert "warm: the container was ready in 3 of 4 runs" in text(told())


def test_the_load_of_the_machine_is_told() -> None:
    quiet, busy = text(told()), text(told(load_average=[7.0, 9.0]))

    assert "load average 0.5, 3 on 2 cores" in quiet
    assert "BUSY" not in quiet
    assert "BUSY" in busy
