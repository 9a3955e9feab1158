"""Arithmetic of measured values. Pure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from enum import StrEnum

#: By round: what was measured in it.
Series = Mapping[int, Sequence[float]]


class Statistic(StrEnum):
    """One number for many."""

    P50 = "p50"
    P95 = "p95"


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of them do not exceed, with a straight line between neighbours.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("no values, no percentile")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below, above = math.floor(place), math.ceil(place)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def one_of(values: Sequence[float], statistic: Statistic) -> float:
    """That statistic of the values."""
    return percentile(values, 50 if statistic is Statistic.P50 else 95)


def by_round(series: Series, statistic: Statistic) -> dict[int, float]:
    """The statistic within each round that has values."""
    return {number: one_of(values, statistic) for number, values in series.items() if values}


def quotients(numerator: Series, denominator: Series, statistic: Statistic) -> dict[int, float]:
    """By round: numerator ÷ denominator, where both were measured in it. Across rounds nothing is ever compared."""
    above, below = by_round(numerator, statistic), by_round(denominator, statistic)
    return {number: above[number] / below[number] for number in above if below.get(number)}


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def everything(series: Series) -> list[float]:
    """The values of all rounds."""
    return [value for number in sorted(series) for value in series[number]]
