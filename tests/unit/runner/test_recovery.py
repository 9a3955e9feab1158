"""What a runner does with what an earlier life left behind."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from bus.messages import Claim
from runner.claimed import ClaimState
from runner.engine import NEVER, ContainerState
from runner.steps import Step
from schemas.commands import ExecuteProgram
from schemas.ids import new_execution_id
from schemas.output import StreamName
from schemas.reasons import Reason
from schemas.status import Status
from tests.support.runner_fixtures import Hub, a_course, make_hub
from tests.support.wait import eventually
from tests.unit.runner.test_fake_engine import spec

COMMAND = ExecuteProgram(program_id="example", parameters={})


async def left(hub: Hub, state: ClaimState, container: ContainerState | None, *, decided: bool = True, **settings: Any) -> str:
    """A claim as a killed runner leaves it."""
    execution_id = new_execution_id()
    async with hub.journal() as journal:
        claimed = journal.new_claim(execution_id, 1, "d", COMMAND)
        assert await journal.claim(claimed)
        if decided:
            await hub.bus.decisions.decide(
                Claim(execution_id=execution_id, attempt=1, epoch=journal.epoch, nonce=claimed.nonce, digest="d")
            )
        if state is ClaimState.STARTING:
            await journal.starting(claimed, a_course().begin(Step.PROGRAM, start_before=NEVER, written_before={}))
    if container is not None:
        hub.fake.add_foreign(spec(execution_id, **settings), container)
    return execution_id


@pytest.mark.parametrize(
    ("state", "container"),
    [
        (ClaimState.CLAIMED, None),
        (ClaimState.CLAIMED, ContainerState.CREATED),
        (ClaimState.STARTING, ContainerState.CREATED),
    ],
)
async def test_what_was_never_started_starts_now_t5(hub: Hub, state: ClaimState, container: ContainerState | None) -> None:
    execution_id = await left(hub, state, container)
    async with hub.runner():
        ended = await hub.ended(execution_id)
    assert (hub.fake.starts[execution_id], ended.status) == (1, Status.COMPLETED)
    assert hub.fake.containers == frozenset()
    async with hub.journal() as journal:
        assert await journal.claims() == []


@pytest.mark.parametrize("container", [ContainerState.RUNNING, ContainerState.ENDED])
async def test_what_was_started_is_taken_up_with_its_true_end_and_never_started_again_t5_m10(
    hub: Hub, container: ContainerState
) -> None:
    execution_id = await left(hub, ClaimState.STARTING, container, stdout="all of it", exit_code=3, sleep=0.2)
    if container is ContainerState.ENDED:
        await hub.fake.adopt(execution_id)
        await hub.fake.wait(execution_id)
    async with hub.runner():
        ended = await hub.ended(execution_id)
    assert hub.fake.starts[execution_id] == 0
    assert (ended.status, ended.exit_code, ended.reason) == (Status.FAILED, 3, Reason.EXIT_CODE)
    assert (ended.stdout.content, ended.stdout.truncated) == ("all of it", False)
    assert [event.status for event in hub.events(execution_id)] == [Status.RUNNING, Status.FAILED]
    assert hub.fake.containers == frozenset()


async def test_what_was_started_and_whose_container_is_gone_failed_with_its_runner(hub: Hub) -> None:
    execution_id = await left(hub, ClaimState.STARTING, None)
    async with hub.runner():
        ended = await hub.ended(execution_id)
    assert (ended.status, ended.reason) == (Status.FAILED, Reason.RUNNER_RESTARTED)


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


@pytest.mark.parametrize("container", [None, ContainerState.CREATED])
async def test_an_order_that_was_written_down_for_a_claim_that_another_won_is_forgotten(
    hub: Hub, container: ContainerState | None
) -> None:
    execution_id = await left(hub, ClaimState.STARTING, container, decided=False)
    await hub.bus.decisions.decide(Claim(execution_id=execution_id, attempt=1, epoch="o", nonce="o", digest="d"))
    async with hub.runner():
        await hub.ended(await hub.submit())
    assert hub.events(execution_id) == []
    assert hub.fake.starts[execution_id] == 0
    assert hub.fake.containers == frozenset()
    async with hub.journal() as journal:
        assert await journal.claims() == []


async def test_an_order_that_was_written_down_for_an_undecided_claim_is_carried_out_once_that_is_won(hub: Hub) -> None:
    execution_id = await left(hub, ClaimState.STARTING, ContainerState.CREATED, decided=False)
    async with hub.runner():
        ended = await hub.ended(execution_id)
    assert (hub.fake.starts[execution_id], ended.status) == (1, Status.COMPLETED)


async def test_after_a_kill_five_queued_commands_run_once_each(hub: Hub) -> None:
    hub.set_settings(max_concurrent_executions=1)
    async with hub.crashing_runner():
        first = await hub.submit(sleep=0.5)
        await hub.is_running(first)
        queued = [await hub.submit() for _ in range(5)]
    async with hub.runner():
        endings = [await hub.ended(execution_id) for execution_id in (first, *queued)]
    assert [ended.status for ended in endings] == [Status.COMPLETED] * 6
    assert [hub.fake.starts[execution_id] for execution_id in (first, *queued)] == [1] * 6
    assert hub.fake.most_running == 1


@pytest.mark.parametrize("repeat", [1, 3_000])
async def test_output_goes_on_after_a_kill_without_a_gap_or_a_repeat_m10(hub: Hub, repeat: int) -> None:
    text = "0123456789abcdef" * 10
    async with hub.crashing_runner():
        execution_id = await hub.submit(stdout=text, stderr="!", repeat=repeat, sleep=1, exit_code=4)

        async def chunks() -> int:
            return len(hub.chunks(execution_id))

        await eventually(chunks)
    told = len(hub.chunks(execution_id))
    async with hub.runner():
        ended = await hub.ended(execution_id)
    assert (ended.status, ended.exit_code, hub.fake.starts[execution_id]) == (Status.FAILED, 4, 1)
    assert hub.output(execution_id, StreamName.STDOUT) == (text * repeat).encode()
    assert hub.output(execution_id, StreamName.STDERR) == b"!" * repeat
    assert (ended.stdout.total_bytes, ended.stdout.truncated) == (len(text) * repeat, False)
    assert len(hub.chunks(execution_id)) >= told


async def test_the_time_limit_goes_on_counting_while_nobody_is_there_m10(hub: Hub) -> None:
    hub.set_settings(timeout_seconds=1.0, stop_grace_seconds=0.1)
    began = time.monotonic()
    async with hub.crashing_runner():
        execution_id = await hub.submit(sleep=60)
        await hub.is_running(execution_id)
    # The limit that counts is the one it was started with.
    hub.set_settings(timeout_seconds=600.0)
    await asyncio.sleep(0.5)
    async with hub.runner():
        ended = await hub.ended(execution_id)
    assert ended.status is Status.TIMEOUT
    assert 1.0 <= time.monotonic() - began < 10


async def test_a_program_that_was_being_stopped_at_its_limit_ends_as_timeout_after_a_kill_m10(hub: Hub) -> None:
    hub.set_settings(timeout_seconds=0.2, stop_grace_seconds=1.0)
    async with hub.crashing_runner():
        execution_id = await hub.submit(sleep=60, ignore_sigterm="true")
        await hub.is_running(execution_id)

        async def is_being_stopped() -> bool:
            return hub.fake.is_terminating(execution_id)

        await eventually(is_being_stopped)
    async with hub.runner():
        ended = await hub.ended(execution_id)
    assert (ended.status, ended.exit_code) == (Status.TIMEOUT, 137)


@pytest.mark.parametrize("step", list(Step))
async def test_actions_are_taken_up_too_each_run_once_with_all_that_was_written_m10(tmp_path: Path, step: Step) -> None:
    hub = make_hub(tmp_path)
    actions = hub.catalogues.current.project_dir / "actions"
    actions.mkdir()
    for name in ("act_before.py", "act_after.py"):
        (actions / name).touch()
    sleep = {"sleep" if step is Step.PROGRAM else f"{step.name.lower()}_sleep": 0.5}
    texts = {"before_stdout": "set up\n", "stdout": "the work", "after_stdout": "tidied\n"}
    async with hub.crashing_runner():
        execution_id = await hub.submit(exit_code=3, **texts, **sleep)

        async def is_at_it() -> bool:
            return hub.fake.steps_of(execution_id)[-1:] == [step]

        await eventually(is_at_it)
    async with hub.runner():
        ended = await hub.ended(execution_id)
    assert hub.fake.starts[execution_id] == 1
    assert hub.fake.exit_codes[execution_id] == 3
    assert (ended.status, ended.exit_code, ended.stdout.content) == (Status.FAILED, 3, "the work")
    assert (ended.lines_before, ended.lines_after) == ("[act_before] set up\n", "[act_after] tidied\n")


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

        async def there() -> frozenset[str]:
            return hub.fake.containers

        await eventually(there, lambda seen: "stray" not in seen)
