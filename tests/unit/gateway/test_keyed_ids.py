"""M9: which execution a key names, and for how long."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.keyed_ids import HANDOVER, KEPT, IdempotencyKeys, is_key

SECRET = bytes(range(32))
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEYS = IdempotencyKeys(SECRET)
MOMENTS = st.integers(0, 10 * 365 * 86_400).map(lambda seconds: NOW + timedelta(seconds=seconds))


def begin_of_window(caller: str, key: str, near: datetime = NOW) -> datetime:
    """The first second after which the key names another execution than it does now."""
    low, high = near, near + KEPT
    old = KEYS.ids(caller, key, near).new
    while high - low > timedelta(milliseconds=1):
        middle = low + (high - low) / 2
        low, high = (middle, high) if KEYS.ids(caller, key, middle).new == old else (low, middle)
    return high


def test_m9_gateways_that_share_the_secret_agree_and_nobody_else_can_guess_the_id() -> None:
    named = KEYS.ids("ada", "order-17", NOW).new

    assert IdempotencyKeys(SECRET).ids("ada", "order-17", NOW).new == named
    assert UUID(named).version == 5
    assert IdempotencyKeys(bytes(32)).ids("ada", "order-17", NOW).new != named


def test_m9_the_same_key_of_another_caller_names_another_execution() -> None:
    named = {KEYS.ids(caller, key, NOW).new for caller, key in (("ada", "k"), ("bob", "k"), ("ada/bot", "k"), ("ada", "bot/k"))}

    assert len(named) == 4


@given(moment=MOMENTS, later=st.timedeltas(timedelta(), KEPT - timedelta(seconds=1)))
def test_m9_a_key_is_looked_up_under_the_id_of_every_use_within_24_hours(moment: datetime, later: timedelta) -> None:
    first = KEYS.ids("ada", "k", moment)
    second = KEYS.ids("ada", "k", moment + later)

    assert first.new in second.possible
    assert second.new in second.possible


@given(moment=MOMENTS, later=st.timedeltas(2 * KEPT, timedelta(days=30)))
def test_m9_an_id_is_never_new_again(moment: datetime, later: timedelta) -> None:
    assert KEYS.ids("ada", "k", moment).new != KEYS.ids("ada", "k", moment + later).new


def test_around_the_end_of_a_window_both_sides_are_looked_at() -> None:
    begin = begin_of_window("ada", "k")
    before, after = KEYS.ids("ada", "k", begin - timedelta(seconds=1)), KEYS.ids("ada", "k", begin + timedelta(seconds=1))
    later = KEYS.ids("ada", "k", begin + HANDOVER + timedelta(seconds=1))

    assert before.possible[1:] == (before.new, after.new)
    assert after.possible == (before.new, after.new)
    assert (before.doubtful, after.doubtful, later.doubtful) == (None, before.new, None)
    assert (later.new, later.possible) == (after.new, after.possible)


def test_keys_change_their_ids_at_different_times_of_day() -> None:
    moments = {begin_of_window("ada", f"key {number}").replace(microsecond=0) for number in range(20)}

    assert len(moments) > 15
    assert max(moments) - min(moments) > timedelta(hours=6)


@pytest.mark.parametrize("text", ["k", "order-17", "a b", "~!\"#'", "k" * 255])
def test_printable_ascii_is_a_key(text: str) -> None:
    assert is_key(text)


@pytest.mark.parametrize("text", ["", " ", " k", "k ", "k\n", "k\tk", "ñ", "k\x7f", "\x00", "k" * 256])
def test_what_is_not_printable_ascii_or_too_long_is_none(text: str) -> None:
    assert not is_key(text)
