"""Percentiles, and quotients within rounds."""

import pytest

from tests.benchmarks.samples import Statistic, by_round, everything, percentile, quotients


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (50, 3.0), (95, 4.8), (100, 5.0), (25, 2.0), (60, 3.4)])
def test_a_percentile_lies_on_a_straight_line_between_neighbours(percent: float, expected: float) -> None:
    assert percentile([5.0, 1.0, 4.0, 2.0, 3.0], percent) == pytest.approx(expected)


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 95) == 7.0


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_rounds_are_never_mixed() -> None:
    slow_then_fast = {1: [100.0, 200.0, 300.0], 2: [10.0, 20.0, 30.0]}
    ours = {1: [10.0, 20.0, 30.0], 2: [1.0, 2.0, 3.0]}

    # The machine was ten times slower in the first round, for both: the quotient does not know.
    assert quotients(slow_then_fast, ours, Statistic.P50) == {1: 10.0, 2: 10.0}


def test_a_round_without_one_of_the_sides_gives_no_quotient() -> None:
    assert quotients({1: [4.0], 2: [4.0], 3: [4.0]}, {1: [2.0], 2: [], 3: [0.0]}, Statistic.P50) == {1: 2.0}


def test_a_round_without_values_has_no_statistic() -> None:
    assert by_round({1: [], 2: [3.0, 1.0, 2.0]}, Statistic.P50) == {2: 2.0}


def test_everything_is_in_the_order_of_the_rounds() -> None:
    assert everything({2: [3.0], 1: [1.0, 2.0]}) == [1.0, 2.0, 3.0]
