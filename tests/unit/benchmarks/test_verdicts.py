"""What is met, what is missed, and what was never measured."""

from collections.abc import Mapping

import pytest

from tests.benchmarks.figures import BY_KEY, FIGURES, Better, Quotient
from tests.benchmarks.samples import Series
from tests.benchmarks.verdicts import Judged, Verdict, judge, meets


def judged(key: str, measured: Mapping[str, Series], reasons: Mapping[str, str] | None = None) -> Judged:
    return next(one for one in judge(measured, reasons) if one.figure.key == key)


def latency(**by_name: list[float]) -> dict[str, Series]:
    """Three rounds, each with one value."""
    return {
        f"latency_ms/{name}": {number: [value] for number, value in enumerate(values, 1)} for name, values in by_name.items()
    }


def test_the_figures_are_those_that_the_hub_is_held_to() -> None:
    assert {figure.key: (figure.bar, figure.goal) for figure in FIGURES} == {
        "warm_p50": (15, 25),
        "warm_p95": (9, 15),
        "warm_none_p50": (10, 18),
        "cold_p50": (1.3, 1.6),
        "preload_p50": (25, 40),
        "burst8": (8, 10),
        "saturated_2": (2.5, 3.5),
        "saturated_8": (2, 3),
        "vs_subprocess": (1.4, 0.8),
        "publish_vs_aio_pika": (1.3, 1.1),
        "publish_vs_celery": (0.5, 0.4),
        "gateway_accept": (0.45, 0.6),
        "projector_batch": (8, 15),
        "memory_million": (1.2, 1.05),
        "warm_mib": (10, 7),
    }


def test_a_goal_is_never_easier_than_its_bar() -> None:
    assert [figure.key for figure in FIGURES if not meets(figure.goal, figure.bar, figure.better)] == []


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [(18.0, Verdict.GOAL), (25.0, Verdict.BAR), (30.0, Verdict.BAR), (30.1, Verdict.MISSED)],
)
def test_a_value_is_held_against_bar_and_goal(ours: float, verdict: Verdict) -> None:
    assert judged("warm_p50", latency(docker_run=[450.0] * 3, warm=[ours] * 3)).verdict is verdict


def test_the_value_is_the_median_of_the_rounds() -> None:
    one = judged("warm_p50", latency(docker_run=[500.0, 500.0, 500.0], warm=[10.0, 25.0, 500.0]))

    assert one.value == 20.0
    assert one.rounds == (50.0, 20.0, 1.0)


def test_where_less_is_better_more_is_a_miss() -> None:
    series = {"publish_ms/ours": {1: [2.0]}, "publish_ms/aio_pika": {1: [1.0]}}

    one = judged("publish_vs_aio_pika", series)

    assert one.figure.better is Better.LOWER
    assert one.verdict is Verdict.MISSED


def test_a_figure_without_a_denominator_is_the_series_itself() -> None:
    one = judged("warm_mib", {"warm_mib/container": {1: [6.0, 8.0, 9.0]}})

    assert (one.value, one.verdict) == (8.0, Verdict.BAR)


def test_a_goal_with_a_quotient_of_its_own_is_held_against_that() -> None:
    met = judged("vs_subprocess", latency(warm=[26.0], subprocess=[20.0], preload=[15.0]))
    bar_alone = judged("vs_subprocess", latency(warm=[26.0], subprocess=[20.0], preload=[18.0]))
    no_preload = judged("vs_subprocess", latency(warm=[10.0], subprocess=[20.0]))

    assert (met.value, met.goal_value, met.verdict) == (1.3, 0.75, Verdict.GOAL)
    assert bar_alone.verdict is Verdict.BAR
    assert (no_preload.goal_value, no_preload.verdict) == (None, Verdict.BAR)


def test_what_was_not_measured_is_said_to_be_so_and_why() -> None:
    why = "config.yaml knows no `warm`"

    one = judged("warm_p50", latency(docker_run=[500.0]), {"latency_ms/warm": why})

    assert (one.value, one.verdict, one.why) == (None, Verdict.MISSING, f"latency_ms/warm: {why}")
    assert one.to_json()["meets_bar"] is None


def test_two_sides_that_never_met_in_a_round_are_no_value() -> None:
    one = judged("warm_p50", {"latency_ms/docker_run": {1: [500.0]}, "latency_ms/warm": {2: [20.0]}})

    assert (one.verdict, one.why) == (Verdict.MISSING, "no round has both sides of it")


def test_what_stands_beside_a_figure_is_reported_even_where_the_figure_is_not() -> None:
    one = judged("vs_subprocess", latency(cold=[400.0], subprocess=[20.0]))

    assert one.verdict is Verdict.MISSING
    assert one.to_json()["beside"] == {"cold": 20.0}


def test_every_quotient_compares_within_one_kind_of_measurement() -> None:
    """Milliseconds over milliseconds: what stands before the slash says what was measured."""
    quotients: list[Quotient] = []
    for figure in BY_KEY.values():
        quotients += [figure.quotient, *(quotient for _, quotient in figure.beside)]
        quotients += [figure.goal_quotient] if figure.goal_quotient else []
    unequal = [
        (quotient.numerator, quotient.denominator)
        for quotient in quotients
        if quotient.denominator and quotient.numerator.partition("/")[0] != quotient.denominator.partition("/")[0]
    ]
    # Both are requests a second; Celery's are made one by one, and its title says so.
    assert unequal == [("accepts_per_second/ours", "enqueued_per_second/celery")]
