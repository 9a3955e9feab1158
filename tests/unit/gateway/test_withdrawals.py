"""What was not confirmed and can't be asked for again shall not run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from bus.errors import BusUnavailable
from bus.messages import Claim, End
from gateway.withdrawals import Withdrawals
from schemas.ids import new_execution_id
from tests.support.gateway_fakes import FakeDecisions
from tests.support.wait import eventually


@asynccontextmanager
async def running(withdrawals: Withdrawals) -> AsyncIterator[None]:
    task = asyncio.create_task(withdrawals.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until_done(withdrawals: Withdrawals) -> None:
    async def waiting() -> int:
        return len(withdrawals)

    await eventually(waiting, lambda waiting: waiting == 0, within_seconds=20)


async def test_an_unconfirmed_execution_is_ended_before_it_begins_however_long_the_bus_is_away() -> None:
    decisions = FakeDecisions()
    decisions.errors = [BusUnavailable("away"), BusUnavailable("away", outcome_unknown=True)]
    withdrawals = Withdrawals(decisions)
    first, second = new_execution_id(), new_execution_id()
    async with running(withdrawals):
        withdrawals.add(first)
        withdrawals.add(second)
        await until_done(withdrawals)

    assert {execution_id: type(decision) for execution_id, decision in decisions.made.items()} == {first: End, second: End}
    end = decisions.made[first]
    assert isinstance(end, End)
    assert (end.reason, end.requested_by) == ("unconfirmed", "hub")


async def test_a_runner_that_was_faster_is_left_alone() -> None:
    decisions = FakeDecisions()
    execution_id = new_execution_id()
    decisions.claim(execution_id, "d")
    withdrawals = Withdrawals(decisions)
    async with running(withdrawals):
        withdrawals.add(execution_id)
        await until_done(withdrawals)

    assert isinstance(decisions.made[execution_id], Claim)


async def test_withdrawing_is_given_up_in_time_and_those_behind_have_their_own() -> None:
    decisions = FakeDecisions()
    decisions.may_decide.clear()
    withdrawals = Withdrawals(decisions, limit_seconds=0.05)
    async with running(withdrawals):
        withdrawals.add(new_execution_id())
        withdrawals.add(new_execution_id())
        await until_done(withdrawals)

    assert decisions.made == {}


async def test_no_more_wait_than_may() -> None:
    decisions = FakeDecisions()
    withdrawals = Withdrawals(decisions, most_waiting=2)
    for _ in range(3):
        withdrawals.add(new_execution_id())

    assert len(withdrawals) == 2


async def test_one_that_breaks_does_not_keep_the_others_from_being_withdrawn() -> None:
    decisions = FakeDecisions()
    decisions.errors = [ValueError("broken")]
    withdrawals = Withdrawals(decisions)
    second = new_execution_id()
    async with running(withdrawals):
        withdrawals.add(new_execution_id())
        withdrawals.add(second)
        await until_done(withdrawals)

    assert list(decisions.made) == [second]
