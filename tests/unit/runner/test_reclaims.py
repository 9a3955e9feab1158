"""What a runner has in hand, once the record of decisions has lost it."""

import asyncio

from bus.messages import Claim, Decision
from bus.upkeep import FORGET_FIRST_SECONDS
from runner.reclaims import FIRST_SECONDS, Reclaims
from runner.waiting import cancel
from schemas.status import Status
from tests.support.runner_fixtures import Hub
from tests.support.wait import eventually


async def test_bus6_after_a_gap_what_a_runner_has_in_hand_is_claimed_again_and_comes_to_one_start(hub: Hub) -> None:
    async with hub.runner():
        execution_id = await hub.submit(sleep=60)
        await hub.is_running(execution_id)
        done = await hub.submit()
        await hub.ended(done)
        claimed = hub.bus.decisions_.made[execution_id, 1]
        hub.bus.decisions_.forget()

        async def decision() -> Decision | None:
            return await hub.bus.decisions.decision_for(execution_id, 1)

        assert await eventually(decision) == claimed
        # Whoever is given the command once more finds it claimed.
        other = Claim(execution_id=execution_id, attempt=1, epoch="other", nonce="n", digest="d")
        assert await hub.bus.decisions.decide(other) == claimed
        assert await hub.bus.decisions.decision_for(done, 1) is None
        await hub.fake.stop(execution_id, 1)
        await hub.ended(execution_id)
    assert hub.fake.starts[execution_id] == 1


async def test_what_somebody_else_claimed_meanwhile_runs_on(hub: Hub) -> None:
    async with hub.runner():
        execution_id = await hub.submit(sleep=0.5)
        await hub.is_running(execution_id)
        hub.bus.decisions_.forget()
        hub.bus.decisions_.made[execution_id, 1] = Claim(
            execution_id=execution_id, attempt=1, epoch="other", nonce="n", digest="d"
        )
        await asyncio.sleep(0.1)
        assert (await hub.ended(execution_id)).status is Status.COMPLETED


async def test_a_fence_that_is_heard_of_in_a_gap_ends_the_epoch_and_not_the_runner(hub: Hub) -> None:
    async with hub.runner():
        execution_id = await hub.submit(sleep=60)
        await hub.is_running(execution_id)
        claimed = hub.bus.decisions_.made[execution_id, 1]
        assert isinstance(claimed, Claim)
        # It is in the order, and its news not here yet.
        hub.bus.epochs_.fenced.append(claimed.epoch)
        hub.bus.decisions_.forget()

        async def times() -> int:
            return hub.bus.decisions_.proposed.count(claimed)

        await eventually(times, lambda number: number == 2)
        await hub.bus.epochs.fence(claimed.epoch)
        assert (await hub.ended(await hub.submit())).status is Status.COMPLETED
    assert hub.fake.containers == frozenset()


async def test_bus6_what_runs_is_claimed_again_now_and_then_before_the_record_forgets_it_and_what_has_ended_is_not(
    hub: Hub,
) -> None:
    async with hub.runner() as runner:
        execution_id = await hub.submit(sleep=60)
        await hub.is_running(execution_id)
        done = await hub.submit()
        await hub.ended(done)
        claimed, other = hub.bus.decisions_.made[execution_id, 1], hub.bus.decisions_.made[done, 1]
        again = Reclaims(hub.bus.decisions, runner._journal, runner._claiming.decide, first_seconds=0.0, again_seconds=0.05)
        claiming = asyncio.create_task(again.run())

        async def times() -> int:
            return hub.bus.decisions_.proposed.count(claimed)

        await eventually(times, lambda number: number >= 4)
        await cancel(claiming)
        assert hub.bus.decisions_.proposed.count(other) == 1
        await hub.fake.stop(execution_id, 1)
        await hub.ended(execution_id)
    assert hub.fake.starts[execution_id] == 1


def test_bus1_claims_are_forgotten_only_after_whoever_was_away_has_said_again_what_it_has() -> None:
    assert FORGET_FIRST_SECONDS >= 2 * FIRST_SECONDS
