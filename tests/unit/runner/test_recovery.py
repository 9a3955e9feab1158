"""What a runner does with what an earlier life left behind."""

import pytest

from bus.messages import Claim
from runner.engine import ContainerState
from runner.journal import ClaimState
from schemas.commands import ExecuteProgram
from schemas.ids import new_execution_id
from schemas.reasons import Reason
from schemas.status import Status
from tests.support.runner_fixtures import Hub
from tests.support.wait import eventually
from tests.unit.runner.test_fake_engine import spec

COMMAND = ExecuteProgram(program_id="example", parameters={})


async def left(hub: Hub, state: ClaimState, container: ContainerState | None, *, decided: bool = True) -> str:
    """A claim as a killed runner leaves it."""
    execution_id = new_execution_id()
    async with hub.journal() as journal:
        claimed, _ = await journal.claim(execution_id, 1, "d", COMMAND)
        if decided:
            await hub.bus.decisions.decide(
                Claim(execution_id=execution_id, attempt=1, epoch=journal.epoch, nonce=claimed.nonce, digest="d")
            )
        if state is ClaimState.STARTING:
            await journal.starting(claimed, "example")
    if container is not None:
        hub.fake.add_foreign(spec(execution_id), container)
    return execution_id


@pytest.mark.parametrize(
    ("state", "container", "starts_now"),
    [
        (ClaimState.CLAIMED, None, True),
        (ClaimState.CLAIMED, ContainerState.CREATED, True),
        (ClaimState.STARTING, ContainerState.CREATED, True),
        (ClaimState.STARTING, None, False),
        (ClaimState.STARTING, ContainerState.RUNNING, False),
        (ClaimState.STARTING, ContainerState.ENDED, False),
    ],
)
async def test_what_was_never_started_starts_now_and_what_may_have_been_never_does_t5(
    hub: Hub, state: ClaimState, container: ContainerState | None, starts_now: bool
) -> None:
    execution_id = await left(hub, state, container)
    async with hub.runner():
        ended = await hub.ended(execution_id)
    assert hub.fake.starts[execution_id] == int(starts_now)
    if starts_now:
        assert ended.status is Status.COMPLETED
    else:
        assert (ended.status, ended.reason) == (Status.FAILED, Reason.RUNNER_RESTARTED)
        assert len(hub.events(execution_id)) == 1
    assert hub.fake.containers == frozenset()
    async with hub.journal() as journal:
        assert await journal.claims() == []


async def test_an_undecided_claim_is_decided_with_its_own_nonce(hub: Hub) -> None:
    execution_id = await left(hub, ClaimState.CLAIMED, None, decided=False)
    async with hub.runner():
        await hub.ended(execution_id)
    assert len({proposal.nonce for proposal in hub.bus.decisions_.proposed if isinstance(proposal, Claim)}) == 1


async def test_an_undecided_claim_that_another_won_is_forgotten(hub: Hub) -> None:
    execution_id = await left(hub, ClaimState.CLAIMED, None, decided=False)
    await hub.bus.decisions.decide(Claim(execution_id=execution_id, attempt=1, epoch="o", nonce="o", digest="d"))
    async with hub.runner():
        await hub.ended(await hub.submit())
    assert hub.events(execution_id) == []
    async with hub.journal() as journal:
        assert await journal.claims() == []


async def test_after_a_kill_five_queued_commands_run_once_each(hub: Hub) -> None:
    hub.set_settings(max_concurrent_executions=1)
    async with hub.crashing_runner():
        first = await hub.submit(sleep=60)
        await hub.is_running(first)
        queued = [await hub.submit() for _ in range(5)]
    async with hub.runner():
        endings = [await hub.ended(execution_id) for execution_id in (first, *queued)]
    assert [ended.reason for ended in endings] == [Reason.RUNNER_RESTARTED] + [None] * 5
    assert [hub.fake.starts[execution_id] for execution_id in (first, *queued)] == [1] * 6
    assert hub.fake.most_running == 1


async def test_what_was_published_before_the_kill_is_named_as_partial(hub: Hub) -> None:
    async with hub.crashing_runner():
        execution_id = await hub.submit(stdout="partial", sleep=60)
        await hub.is_running(execution_id)

        async def chunks() -> int:
            return len(hub.chunks(execution_id))

        await eventually(chunks)
    async with hub.runner():
        ended = await hub.ended(execution_id)
    assert (ended.stdout.total_bytes, ended.stdout.chunks, ended.stdout.truncated) == (7, 1, True)
    assert ended.started_at is not None


async def test_an_end_that_was_not_told_is_told_once_and_its_container_removed(hub: Hub) -> None:
    async with hub.crashing_runner():
        execution_id = await hub.submit(sleep=0.2)
        await hub.is_running(execution_id)
        hub.bus.away = True

        async def gone() -> bool:
            return execution_id not in hub.fake.containers

        await eventually(gone)
    hub.fake.add_foreign(spec(execution_id), ContainerState.ENDED)
    hub.bus.away = False
    async with hub.runner():
        assert (await hub.ended(execution_id)).status is Status.COMPLETED
        await hub.ended(await hub.submit())
    assert len(hub.events(execution_id)) == 2
    assert hub.fake.containers == frozenset()


async def test_a_container_without_a_claim_is_removed(hub: Hub) -> None:
    hub.fake.add_foreign(spec("stray"), ContainerState.RUNNING)
    async with hub.runner():
        await hub.ended(await hub.submit())
        assert "stray" not in hub.fake.containers
