"""Who is silent, in made-up orders of leases and ticks: no clock is needed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import attendance as attendances
from bus.attendance import Attendance
from bus.messages import LEASES_A_TTL, Lease, Tick
from schemas.times import utc_now

SECONDS = 5.0


def lease(epoch: str = "e", **fields: Any) -> Lease:
    now = utc_now()
    about = {"pool": "p", "max_concurrent_executions": 1, "started_at": now, "written_at": now}
    return Lease(**{"runner_id": f"runner of {epoch}", "epoch": epoch, **about, **fields})


class Stream:
    """Writes into an attendance as the stream does."""

    def __init__(self) -> None:
        self.seen = Attendance("me")

    def ticks(self, number: int, holder: str = "me", *, seconds: float = SECONDS) -> None:
        for _ in range(number):
            self.seen.tick(Tick(holder=holder, number=self.seen.ticks + 1, seconds=seconds))


def test_an_epoch_is_silent_when_the_ticks_of_its_last_lease_were_read_after_it_and_not_before() -> None:
    stream = Stream()
    stream.ticks(3)
    stream.seen.hear(lease())
    stream.ticks(LEASES_A_TTL - 1)
    assert not stream.seen.is_silent("e")
    stream.ticks(1)
    assert stream.seen.is_silent("e")
    stream.seen.hear(lease())
    assert not stream.seen.is_silent("e"), "it is back"
    assert stream.seen.runner_of("e") == "runner of e"


def test_one_that_never_wrote_is_silent_a_usual_time_after_this_holder_began() -> None:
    stream = Stream()
    stream.ticks(LEASES_A_TTL - 1)
    assert not stream.seen.is_silent("never heard of")
    stream.ticks(1)
    assert stream.seen.is_silent("never heard of")
    assert stream.seen.runner_of("never heard of") is None


def test_fault24_the_last_lease_at_a_stop_is_good_for_the_time_of_a_handover() -> None:
    stream = Stream()
    stream.seen.hear(lease(ttl_seconds=600, leaves=True))
    stream.ticks(119)
    assert not stream.seen.is_silent("e")
    stream.ticks(1)
    assert stream.seen.is_silent("e")


def test_leases_that_were_read_before_this_holder_began_count_from_its_beginning() -> None:
    stream = Stream()
    stream.seen.hear(lease())
    stream.ticks(40, "the holder before")
    assert not stream.seen.is_silent("e")
    stream.ticks(LEASES_A_TTL)
    assert stream.seen.is_silent("e")


def test_the_tick_of_another_holder_makes_counting_begin_anew() -> None:
    stream = Stream()
    stream.seen.hear(lease())
    stream.ticks(LEASES_A_TTL - 1)
    stream.ticks(1, "another")
    stream.ticks(LEASES_A_TTL - 1)
    assert not stream.seen.is_silent("e")
    stream.ticks(1)
    assert stream.seen.is_silent("e")


def test_a_tick_that_was_written_twice_counts_once() -> None:
    stream = Stream()
    for _ in range(10):
        stream.seen.tick(Tick(holder="me", number=1, seconds=SECONDS))
    assert stream.seen.ticks == 1
    assert not stream.seen.is_silent("e")


@pytest.mark.parametrize(("seconds", "ttl"), [(0.5, 3.0), (1.0, 6.0), (7.0, 42.0), (5.0, 31.0), (0.1, 0.6)])
def test_a_time_is_rounded_up_to_ticks(seconds: float, ttl: float) -> None:
    stream = Stream()
    stream.seen.hear(lease(ttl_seconds=ttl))
    number = 0
    while not stream.seen.is_silent("e"):
        stream.ticks(1, seconds=seconds)
        number += 1
    assert number * seconds >= ttl - 1e-6
    assert (number - 1) * seconds < ttl


@given(st.lists(st.sampled_from(["one", "two", "tick"]), max_size=60))
def test_nobody_is_silent_who_was_heard_of_among_the_last_ticks(order: list[str]) -> None:
    stream = Stream()
    since = {"one": 0, "two": 0}
    for record in order:
        if record == "tick":
            stream.ticks(1)
            since = {name: ticks + 1 for name, ticks in since.items()}
        else:
            stream.seen.hear(lease(record))
            since[record] = 0
        assert {name: stream.seen.is_silent(name) for name in since} == {
            name: ticks >= LEASES_A_TTL for name, ticks in since.items()
        }


def test_of_too_many_epochs_the_longest_silent_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendances, "MOST_EPOCHS", 2)
    stream = Stream()
    for epoch in ("a", "b", "a", "c"):
        stream.seen.hear(lease(epoch))
    assert [stream.seen.runner_of(epoch) is not None for epoch in "abc"] == [True, False, True]
