"""What is known of the daemon's lives, and what that says of a program's end."""

from datetime import UTC, datetime, timedelta

import pytest

from runner.daemon_lives import GONE, ContainerLife, DaemonLife, DaemonLives

#: All times are seconds after this.
BEGINNING = datetime(2026, 3, 4, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGINNING + timedelta(seconds=seconds)


def life(started: float, seen: float, *, keeps: bool = False) -> DaemonLife:
    return DaemonLife(at(started), keeps, at(seen))


def lives(*seen: DaemonLife) -> DaemonLives:
    lives = DaemonLives()
    for each in seen:
        lives.see(each, each.seen_at)
    return lives


def ended(started: float, finished: float, code: int = 143, *, witnessed: bool | None = None) -> ContainerLife:
    return ContainerLife(at(started), at(finished), code, witnessed)


@pytest.mark.parametrize("code", [0, 3, 137, 143, 255])
def test_fault14_t11_without_a_restart_every_end_is_the_programs_own(code: int) -> None:
    assert not lives(life(0, 99)).may_have_ended(ended(10, 100, code))
    assert not lives(life(0, 99), life(200, 300)).may_have_ended(ended(210, 290, code))


@pytest.mark.parametrize("code", [0, 3, 137, 143, 255])
@pytest.mark.parametrize("finished", [50, 99.5, 100])
def test_fault14_t11_what_ended_after_the_daemon_was_last_seen_and_before_the_next_may_be_its_doing(
    code: int, finished: float
) -> None:
    assert lives(life(0, 49), life(100, 101)).may_have_ended(ended(10, finished, code))


@pytest.mark.parametrize("code", [0, 143])
def test_fault14_t11_what_ended_before_the_daemon_was_last_seen_is_the_programs_own(code: int) -> None:
    assert not lives(life(0, 49), life(100, 101)).may_have_ended(ended(10, 48.5, code))
    # Also by way of a life in between.
    assert not lives(life(0, 49), life(100, 101), life(200, 201)).may_have_ended(ended(10, 48.5, code))
    assert lives(life(0, 5), life(100, 149), life(200, 201)).may_have_ended(ended(10, 140, code))


@pytest.mark.parametrize("code", [0, 3, 137, 143])
def test_fault13_with_live_restore_every_end_is_the_programs_own(code: int) -> None:
    assert not lives(life(0, 49, keeps=True), life(100, 101, keeps=True)).may_have_ended(ended(10, 80, code))


def test_fault14_live_restore_counts_where_the_life_that_ended_had_it() -> None:
    assert lives(life(0, 49), life(100, 101, keeps=True)).may_have_ended(ended(10, 50, 0))
    assert lives(life(0, 49, keeps=True), life(100, 101)).may_have_ended(ended(10, 99, 0))
    # A life that was over before the program began says nothing.
    assert not lives(life(0, 5), life(8, 49, keeps=True), life(100, 101, keeps=True)).may_have_ended(ended(10, 50, 0))


def test_fault14_a_machine_that_went_away_is_no_programs_failure_even_with_live_restore() -> None:
    assert lives(life(0, 49, keeps=True), life(100, 101, keeps=True)).may_have_ended(ended(10, 99, 255))
    assert not lives(life(0, 49, keeps=True), life(400, 401, keeps=True)).may_have_ended(ended(10, 60, 255))


def test_fault13_only_an_end_that_may_be_made_up_wants_a_witness() -> None:
    assert lives(life(0, 49, keeps=True)).may_have_made_up(ended(10, 20, GONE))
    assert not lives(life(0, 49, keeps=True)).may_have_made_up(ended(10, 20, 0))
    assert not lives(life(0, 49)).may_have_made_up(ended(10, 20, GONE))
    assert not DaemonLives().may_have_made_up(ended(10, 20, GONE))


@pytest.mark.parametrize("started", [10, 110])
def test_fault13_with_live_restore_the_witness_of_an_end_decides(started: int) -> None:
    """Where containers of an earlier life run on, a life seems to be the one before."""
    known = lives(life(100, 149, keeps=True))
    assert known.may_have_ended(ended(started, 140, GONE, witnessed=False))
    assert not known.may_have_ended(ended(started, 140, GONE, witnessed=True))


@pytest.mark.parametrize(
    ("finished", "restarted"),
    [
        (40, True),
        (48.9, True),
        (49.1, False),
        (49.8, False),
        (50.4, False),
        (50.6, True),
        (58, True),
        (60.2, False),
        (81, True),
    ],
)
def test_fault13_no_daemon_makes_up_an_end_while_none_is_there(finished: float, restarted: bool) -> None:
    known = lives(life(0, 49, keeps=True))
    # Between the first three and the last two there was time for a whole life that nobody saw.
    for seconds in (49.5, 50.4, 50.2, 60, 60.4):
        known.miss(at(seconds))
    known.see(life(0, 80, keeps=True), at(80))
    assert known.may_have_ended(ended(10, finished, GONE, witnessed=False)) is restarted


def test_fault14_without_live_restore_an_end_while_no_daemon_is_there_may_be_the_doing_of_the_one_before() -> None:
    known = lives(life(0, 49))
    known.miss(at(60))
    known.see(life(100, 101), at(101))
    assert known.may_have_ended(ended(10, 55, 143))
    # Live-restore came with the second one.
    known = lives(life(0, 49))
    known.miss(at(60))
    known.see(life(100, 101, keeps=True), at(101))
    assert known.may_have_ended(ended(10, 55, GONE, witnessed=False))


def test_fault14_a_second_between_the_start_and_the_last_look_is_no_gap() -> None:
    # The daemon tells whole seconds: it was seen after the program had begun.
    assert lives(life(0, 10), life(500, 501)).may_have_ended(ended(10.7, 11, 0))


@pytest.mark.parametrize(("finished", "code", "restarted"), [(90, 0, True), (20, 0, False), (20, 3, False), (20, 143, True)])
def test_fault14_where_nobody_watched_only_what_is_likely_its_doing_counts(finished: float, code: int, restarted: bool) -> None:
    assert lives(life(100, 101)).may_have_ended(ended(10, finished, code)) is restarted


def test_a_daemon_that_tells_nothing_restarts_never() -> None:
    assert not DaemonLives().may_have_ended(ended(10, 20))
