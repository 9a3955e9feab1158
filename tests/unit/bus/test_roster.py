"""Who is there, without comparing the clocks of two hosts."""

from datetime import UTC, datetime, timedelta

from bus import roster as rosters
from bus.messages import LEASE_SECONDS, LEASE_TTL_SECONDS, Lease
from bus.roster import Roster

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


class Clock:
    """A monotonic clock that tests move."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def lease(runner_id: str, at: datetime, *, leaves: bool = False, limit: int = 5) -> Lease:
    return Lease(
        runner_id=runner_id,
        epoch="e",
        pool="default",
        max_concurrent_executions=limit,
        started_at=NOON,
        written_at=at,
        leaves=leaves,
    )


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def ids(roster: Roster) -> list[str]:
    return [lease.runner_id for lease in roster.live()]


def test_a_runner_is_there_until_its_lease_has_run_out() -> None:
    clock = Clock()
    roster = Roster(clock)
    roster.hear(lease("b", NOON))
    roster.hear(lease("a", NOON))
    clock.seconds += LEASE_TTL_SECONDS - 1
    roster.hear(lease("b", after(LEASE_TTL_SECONDS - 1)))
    assert ids(roster) == ["a", "b"]
    clock.seconds += 1
    assert ids(roster) == ["b"]
    clock.seconds += LEASE_TTL_SECONDS
    assert ids(roster) == []


def test_the_newest_lease_of_a_runner_counts() -> None:
    roster = Roster(Clock())
    roster.hear(lease("a", NOON, limit=5))
    roster.hear(lease("a", after(5), limit=7))
    assert [lease.max_concurrent_executions for lease in roster.live()] == [7]


def test_a_runner_that_leaves_is_missed_no_more_and_may_come_back() -> None:
    roster = Roster(Clock())
    roster.hear(lease("a", NOON))
    roster.hear(lease("a", after(1), leaves=True))
    assert ids(roster) == []
    roster.hear(lease("a", after(2)))
    assert ids(roster) == ["a"]


def test_read_all_at_once_a_runner_that_died_before_is_not_there() -> None:
    """A gateway that starts reads minutes of leases in a moment: its own clock can't tell old ones from new ones."""
    roster = Roster(Clock())
    roster.hear(lease("dead", NOON))
    for seconds in range(0, 60, 5):
        roster.hear(lease("alive", after(seconds)))
    assert ids(roster) == ["alive"]


def test_clocks_of_hosts_that_differ_by_hours_change_nothing() -> None:
    roster = Roster(Clock())
    for seconds in range(0, 120, 5):
        roster.hear(lease("behind", after(seconds - 7200)))
        roster.hear(lease("ahead", after(seconds + 7200)))
        roster.hear(lease("right", after(seconds)))
    assert ids(roster) == ["ahead", "behind", "right"]


def test_a_clock_that_is_set_forward_or_back_takes_nobody_off() -> None:
    roster = Roster(Clock())
    roster.hear(lease("a", NOON))
    roster.hear(lease("b", NOON))
    roster.hear(lease("b", after(3600)))
    roster.hear(lease("b", after(-3600)))
    roster.hear(lease("b", after(3600)))
    assert ids(roster) == ["a", "b"]


def test_a_runner_that_starts_over_and_over_ages_nobody() -> None:
    roster = Roster(Clock())
    roster.hear(lease("steady", NOON))
    for start in range(100):
        roster.hear(lease("restarting", after(start * 0.1)))
    assert ids(roster) == ["restarting", "steady"]


def test_a_frozen_runner_is_there_again_with_its_first_lease_after_waking() -> None:
    roster = Roster(Clock())
    roster.hear(lease("frozen", NOON))
    for seconds in range(0, 300, 5):
        roster.hear(lease("other", after(seconds)))
    assert ids(roster) == ["other"]
    roster.hear(lease("frozen", after(300)))
    assert ids(roster) == ["frozen", "other"]


def test_a_few_lost_leases_take_nobody_off() -> None:
    roster = Roster(Clock())
    roster.hear(lease("unlucky", NOON))
    for number in range(1, 5):
        roster.hear(lease("other", after(number * LEASE_SECONDS)))
    assert ids(roster) == ["other", "unlucky"]


def test_only_so_many_runners_are_kept_in_mind() -> None:
    clock = Clock()
    roster = Roster(clock)
    most = rosters.MOST_RUNNERS
    for number in range(most):
        roster.hear(lease(f"r{number}", NOON))
    roster.hear(lease("one too many", NOON))
    assert len(roster.live()) == most
    clock.seconds += LEASE_TTL_SECONDS
    roster.hear(lease("in place of the dead", after(60)))
    assert ids(roster) == ["in place of the dead"]
