"""A runner that was given up clears away all that it had, says what came of it, and works on under a new epoch."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from bus.messages import Claim, Record
from bus.messages import StreamName as BusStream
from runner import labels
from runner.engine import ContainerState
from runner.errors import Displaced, RunnerIdTaken
from runner.journal import Journal
from schemas.commands import ExecuteProgram
from schemas.late_result_events import LATE_RESULT_KEYS, LateResult, parse_late_result
from schemas.status import Status
from tests.support.runner_fixtures import IDENTITY, Hub
from tests.support.wait import eventually
from tests.unit.runner.test_fake_engine import spec


def late(hub: Hub) -> list[LateResult]:
    return [parse_late_result(record.message.body).data for record in records(hub) if record.key.startswith(LATE_RESULT_KEYS)]


def records(hub: Hub) -> list[Record]:
    return hub.bus.streams_.records[BusStream.LOG]


def epoch_of(hub: Hub, execution_id: str) -> str:
    decision = hub.bus.decisions_.made[execution_id, 1]
    assert isinstance(decision, Claim)
    return decision.epoch


async def is_told(hub: Hub, number: int) -> list[LateResult]:
    async def seen() -> list[LateResult]:
        return late(hub)

    return await eventually(seen, lambda found: len(found) >= number)


async def test_what_ran_under_a_fenced_epoch_is_killed_and_the_runner_works_on_under_a_new_one(hub: Hub) -> None:
    async with hub.runner():
        execution_id = await hub.submit(sleep=60)
        await hub.is_running(execution_id)
        old = epoch_of(hub, execution_id)
        await hub.bus.epochs.fence(old)
        (told,) = await is_told(hub, 1)
        assert (told.execution_id, told.outcome, told.runner_id) == (execution_id, None, IDENTITY.runner_id)
        assert hub.fake.containers == frozenset()
        after = await hub.submit()
        assert (await hub.ended(after)).status is Status.COMPLETED
        assert epoch_of(hub, after) != old
    assert [event.status for event in hub.events(execution_id)] == [Status.RUNNING], "never a terminal"
    assert [hello.epoch for hello in hub.bus.epochs_.hellos] == [old, epoch_of(hub, after)]
    async with hub.journal() as journal:
        assert await journal.claims() == []


async def test_an_ending_that_was_not_told_before_the_fence_is_told_as_a_late_result_alone(hub: Hub) -> None:
    async with hub.crashing_runner():
        execution_id = await hub.submit(sleep=0.1, exit_code=3)
        await hub.is_running(execution_id)
        hub.bus.away = True

        async def is_gone() -> bool:
            return execution_id not in hub.fake.containers

        await eventually(is_gone)
    hub.bus.away = False
    await hub.bus.epochs.fence(epoch_of(hub, execution_id))
    before = len(records(hub))
    async with hub.runner():
        (told,) = await is_told(hub, 1)
        await hub.ended(await hub.submit())
    assert (told.outcome, told.exit_code) == (Status.FAILED, 3)
    of_it = [record.key for record in records(hub)[before:] if execution_id.encode() in record.message.body]
    assert of_it == ["execution.late_result.example"]


async def test_a_runner_that_comes_back_after_it_was_given_up_adopts_nothing(hub: Hub) -> None:
    async with hub.crashing_runner():
        execution_id = await hub.submit(sleep=60)
        await hub.is_running(execution_id)
    await hub.bus.epochs.fence(epoch_of(hub, execution_id))
    async with hub.runner():
        await is_told(hub, 1)
        assert hub.fake.containers == frozenset()
        await hub.ended(await hub.submit())
    assert hub.fake.starts[execution_id] == 1
    assert [event.status for event in hub.events(execution_id)] == [Status.RUNNING]


async def test_what_was_only_claimed_before_the_fence_is_never_started_and_nothing_is_said_of_it(hub: Hub) -> None:
    hub.set_settings(max_concurrent_executions=1)
    async with hub.crashing_runner():
        first = await hub.submit(sleep=60)
        await hub.is_running(first)
    async with hub.journal() as journal:
        # Decided, and the process died before it was begun.
        second = await hub.submit()
        delivery = await hub.bus.commands.take("default", 1)
        await delivery.done()
        claimed = await claim(journal, second)
        await hub.bus.decisions.decide(Claim(execution_id=second, attempt=1, epoch=journal.epoch, nonce=claimed, digest="d"))
        await hub.bus.epochs.fence(journal.epoch)
    async with hub.runner():
        (told,) = await is_told(hub, 1)
        await hub.ended(await hub.submit())
    assert told.execution_id == first
    assert hub.fake.starts[second] == 0
    assert hub.events(second) == []


async def claim(journal: Journal, execution_id: str) -> str:
    claimed = journal.new_claim(execution_id, 1, "d", ExecuteProgram(program_id="example"))
    assert await journal.claim(claimed)
    return claimed.nonce


async def test_bus1_a_void_claim_is_made_again_under_a_new_epoch_with_the_delivery_still_held(hub: Hub) -> None:
    async with hub.runner():
        first = await hub.submit()
        await hub.ended(first)
        old = epoch_of(hub, first)
        # The fence is in the order, and its news not here yet.
        hub.bus.epochs_.fenced.append(old)
        second = await hub.submit()

        async def is_proposed() -> bool:
            return any(proposal.execution_id == second for proposal in hub.bus.decisions_.proposed)

        await eventually(is_proposed)
        assert hub.fake.starts[second] == 0
        await hub.bus.epochs.fence(old)
        assert (await hub.ended(second)).status is Status.COMPLETED
    assert hub.fake.starts[second] == 1
    assert epoch_of(hub, second) != old
    assert [each.outcome for each in hub.bus.commands_.deliveries if each.message.id == second] == ["done"]


async def test_fault25_a_container_of_another_epoch_is_left_alone_until_that_is_fenced(hub: Hub) -> None:
    stranger = str(uuid4())
    hub.fake.add_foreign(replace(spec(stranger, sleep=60), labels={labels.EPOCH: "another"}), ContainerState.RUNNING)
    async with hub.runner():
        await hub.ended(await hub.submit())
        assert stranger in hub.fake.containers
        await hub.bus.epochs.fence("another")

        async def is_gone() -> bool:
            return stranger not in hub.fake.containers

        await eventually(is_gone)


async def test_fault25_a_runner_whose_journal_was_copied_stops_and_leaves_its_containers_to_the_copy(hub: Hub) -> None:
    async with hub.journal() as journal:
        runner = hub.make_runner(journal)
        running = asyncio.create_task(runner.run())
        execution_id = await hub.submit(sleep=60)
        await hub.is_running(execution_id)
        hub.bus.epochs_.is_displaced.set()
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(running, 5)
    assert caught.group_contains(Displaced, match="copy of this runner's state directory")
    assert execution_id in hub.fake.containers
    assert len(hub.events(execution_id)) == 1


async def test_a_second_runner_of_a_living_id_does_not_begin(hub: Hub) -> None:
    async with hub.journal() as journal:
        runner = hub.make_runner(journal)
        hub.bus.leases_.rival = runner._presence.lease()
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(runner.run(), 5)
    assert caught.group_contains(RunnerIdTaken, match="HUB_RUNNER_ID")
    assert hub.bus.epochs_.hellos == []


async def test_a_restart_on_its_own_journal_keeps_its_epoch_and_asks_nobody(hub: Hub) -> None:
    async with hub.runner():
        first = await hub.submit()
        await hub.ended(first)
    assert hub.bus.leases_.times_asked == 1
    async with hub.runner():
        second = await hub.submit()
        await hub.ended(second)
    assert epoch_of(hub, first) == epoch_of(hub, second)
    assert len({hello.process for hello in hub.bus.epochs_.hellos}) == 2
    assert hub.bus.leases_.times_asked == 1


async def test_fault24_the_last_word_at_a_stop_keeps_what_runs_for_the_time_of_a_handover(hub: Hub) -> None:
    async with hub.runner(stop_limit_seconds=0.0):
        await hub.ended(await hub.submit())
    last = hub.bus.leases_.kept[-1]
    assert (last.leaves, last.ttl_seconds) == (True, 600.0)


async def test_fault5_nothing_starts_while_it_is_not_sure_and_all_goes_on_afterwards(hub: Hub) -> None:
    async with hub.runner() as runner:
        await hub.ended(await hub.submit())
        standing = runner._standing
        execution_id = await hub.submit(prepare_seconds=0.5)
        await eventually(lambda: hub.bus.decisions.decision_for(execution_id, 1))
        standing._sure_seconds = 0.0

        async def is_made() -> bool:
            return execution_id in hub.fake.containers

        await eventually(is_made)
        await asyncio.sleep(0.2)
        assert hub.fake.starts[execution_id] == 0
        standing._sure_seconds = 15.0
        standing._wake()
        assert (await hub.ended(execution_id)).status is Status.COMPLETED


async def test_bus1_who_is_not_sure_to_be_counted_among_the_living_claims_nothing_until_that_is_said(hub: Hub) -> None:
    async with hub.runner() as runner:
        await hub.ended(await hub.submit())
        standing = runner._standing
        standing._sure_seconds = 0.0
        execution_id = await hub.submit()
        await asyncio.sleep(0.3)
        assert await hub.bus.decisions.decision_for(execution_id, 1) is None
        standing._sure_seconds = 15.0
        standing._wake()
        assert (await hub.ended(execution_id)).status is Status.COMPLETED


async def test_an_old_copy_of_a_journal_ends_its_epoch_rather_than_lose_what_it_does_not_know_of(hub: Hub) -> None:
    async with hub.runner():
        await hub.ended(await hub.submit())
    saved = (hub.state_dir / "journal.db").read_bytes()
    async with hub.runner():
        await hub.ended(await hub.submit())
    # The newest claim is in there: nothing is wrong with this one.
    async with hub.crashing_runner():
        execution_id = await hub.submit(sleep=60)
        await hub.is_running(execution_id)
    assert hub.bus.epochs_.fenced == []
    for file in hub.state_dir.glob("journal.db*"):
        file.unlink()
    (hub.state_dir / "journal.db").write_bytes(saved)
    async with hub.runner():
        after = await hub.submit()
        await hub.ended(after)
    assert hub.bus.epochs_.fenced == [epoch_of(hub, execution_id)], "so that the holder ends what it had claimed"
    assert epoch_of(hub, after) != epoch_of(hub, execution_id)
    assert hub.fake.containers == frozenset()
