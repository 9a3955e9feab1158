"""Turns."""

from tests.benchmarks.interleaving import turns


def test_everybody_comes_once_in_each_turn() -> None:
    drawn = list(turns(["a", "b", "c", "d"], 50, seed=1))

    assert len(drawn) == 50
    assert all(sorted(turn) == ["a", "b", "c", "d"] for turn in drawn)


def test_nobody_has_a_fixed_place() -> None:
    drawn = list(turns(["a", "b", "c", "d"], 50, seed=1))

    assert {turn[0] for turn in drawn} == {"a", "b", "c", "d"}


def test_the_same_seed_draws_the_same_order() -> None:
    assert list(turns([1, 2, 3], 5, seed=7)) == list(turns([1, 2, 3], 5, seed=7))
    assert list(turns([1, 2, 3], 5, seed=7)) != list(turns([1, 2, 3], 5, seed=8))
