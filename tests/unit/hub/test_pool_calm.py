"""When a pool is calm: nothing in its queue, and nothing in anybody's hands that anybody knows of."""

import pytest

from bus.messages import Lease
from hub.pool_calm import PoolCalm
from tests.support.records import NOON


def lease(runner_id: str = "r1", unsettled: int | None = 0) -> Lease:
    return Lease(
        runner_id=runner_id,
        epoch="e",
        pool="default",
        max_concurrent_executions=3,
        started_at=NOON,
        written_at=NOON,
        unsettled=unsettled,
    )


def make() -> PoolCalm:
    return PoolCalm(longest_step_seconds=10, absent_seconds=100)


def test_it_is_calm_since_the_first_of_the_looks_that_saw_nothing() -> None:
    calm = make()
    for now in (0, 5, 10):
        calm.look(now, 0, [lease(), lease("r2")])
    assert calm.since == 0


@pytest.mark.parametrize(
    ("waiting", "leases"),
    [
        (1, [lease()]),
        (None, [lease()]),
        # A passive count of 0 was seen while three were in a runner's hands.
        (0, [lease(), lease("r2", unsettled=3)]),
        # A runner of an earlier version says nothing.
        (0, [lease(), lease("r2", unsettled=None)]),
        # Nobody is there who could say that nothing is in hand.
        (0, []),
    ],
)
def test_one_look_that_saw_something_or_could_not_see_begins_it_anew(waiting: int | None, leases: list[Lease]) -> None:
    calm = make()
    calm.look(0, 0, [lease()])
    calm.look(5, waiting, leases)
    assert calm.since is None
    for now in (110, 115):
        calm.look(now, 0, [lease()])
    assert calm.since == 110


def test_a_runner_that_fell_silent_may_have_something_in_hand_until_the_broker_takes_it_back() -> None:
    calm = make()
    calm.look(0, 0, [lease(), lease("r2")])
    for now in range(5, 100, 5):
        calm.look(now, 0, [lease()])
        assert calm.since is None
    calm.look(100, 0, [lease()])
    assert calm.since == 100


def test_a_runner_that_is_back_says_itself_what_it_has() -> None:
    calm = make()
    for leases in ([lease(), lease("r2")], [lease()], [lease(), lease("r2")]):
        calm.look(5, 0, leases)
    assert calm.since == 5


def test_who_did_not_look_for_long_has_seen_nothing() -> None:
    calm = make()
    calm.look(0, 0, [lease()])
    calm.look(11, 0, [lease()])
    assert calm.since == 11
