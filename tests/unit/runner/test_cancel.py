"""Cancels that reach a runner: in every phase of an execution, in any order with its own end, and over its restarts."""

import asyncio
from pathlib import Path

import pytest

from bus.messages import Claim, End
from bus.messages import StreamName as BusStream
from runner.engine import ContainerState
from runner.errors import NotAdoptable
from runner.steps import Step
from schemas.events import Ended
from schemas.output import StreamName
from schemas.reasons import Category, Reason
from schemas.status import Status
from tests.support.runner_fixtures import Hub, make_hub
from tests.support.wait import eventually
from tests.unit.runner.test_actions import with_actions


async def cancel(hub: Hub, execution_id: str, reason: str = "cancelled") -> None:
    await hub.bus.decisions.decide(End(execution_id=execution_id, reason=reason, requested_by="ana", why="took too long"))


async def claimed(hub: Hub, execution_id: str) -> None:
    async def look() -> bool:
        return isinstance(await hub.bus.decisions.decision_for(execution_id, 1), Claim)

    await eventually(look)


async def not_adoptable(name: str, *_: object) -> None:
    raise NotAdoptable(f"{name} can't be taken up")


def is_cancelled(ended: Ended) -> bool:
    told = (ended.status, ended.reason, ended.category, ended.message)
    return told == (Status.CANCELLED, Reason.CANCELLED, Category.EXECUTION, "Cancelled by ana: took too long")


async def removed(hub: Hub) -> None:
    async def look() -> bool:
        return not hub.fake.containers

    await eventually(look)


async def test_what_is_prepared_is_not_started_any_more_m1(hub: Hub) -> None:
    async with hub.runner():
        execution_id = await hub.submit(prepare_seconds=60)
        await claimed(hub, execution_id)
        await cancel(hub, execution_id)
        ended = await hub.ended(execution_id, within_seconds=20)
        await removed(hub)
    assert is_cancelled(ended)
    assert (ended.exit_code, ended.started_at) == (None, None)
    assert hub.fake.starts[execution_id] == 0
    async with hub.journal() as journal:
        assert await journal.claims() == []


async def test_what_runs_is_stopped_with_its_output_kept_m1(hub: Hub) -> None:
    async with hub.runner():
        execution_id = await hub.submit(stdout="so far", sleep=60)
        await hub.is_running(execution_id)
        await cancel(hub, execution_id)
        ended = await hub.ended(execution_id, within_seconds=20)
        await cancel(hub, execution_id)
        await removed(hub)
    assert is_cancelled(ended)
    assert (ended.exit_code, ended.stdout.total_bytes, ended.started_at is not None) == (143, 6, True)
    # Where it ran for long enough to be published before its end, it is in both.
    content = hub.output(execution_id, StreamName.STDOUT) if ended.stdout.content is None else ended.stdout.content.encode()
    assert content == b"so far"
    assert [event.status for event in hub.events(execution_id)] == [Status.RUNNING, Status.CANCELLED]


async def test_what_ignores_sigterm_is_killed_after_the_grace_m1(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, stop_grace_seconds=0.3)
    async with hub.runner():
        execution_id = await hub.submit(sleep=60, ignore_sigterm="true")
        await hub.is_running(execution_id)
        await cancel(hub, execution_id)
        await asyncio.sleep(0.1)
        assert (hub.fake.is_terminating(execution_id), hub.fake.running) == (True, 1), "the grace is the program's"
        ended = await hub.ended(execution_id, within_seconds=20)
    assert is_cancelled(ended)
    assert ended.exit_code == 137


async def test_only_a_cancel_stops_what_runs_and_any_other_end_does_not(hub: Hub) -> None:
    async with hub.runner():
        execution_id = await hub.submit(sleep=0.3)
        await hub.is_running(execution_id)
        await cancel(hub, execution_id, reason="command_lost")
        assert (await hub.ended(execution_id)).status is Status.COMPLETED
        other = await hub.submit(sleep=60)
        await hub.is_running(other)
        await cancel(hub, other, reason="unconfirmed")
        await cancel(hub, other)
        assert is_cancelled(await hub.ended(other, within_seconds=20))


async def test_a_cancel_of_what_has_ended_changes_nothing_m1(hub: Hub) -> None:
    async with hub.runner():
        execution_id = await hub.submit(exit_code=3)
        await hub.ended(execution_id)
        await cancel(hub, execution_id)
        await hub.ended(await hub.submit())
        assert (await hub.ended(execution_id)).exit_code == 3
    async with hub.runner():
        await hub.ended(await hub.submit())
    assert [event.status for event in hub.events(execution_id)] == [Status.RUNNING, Status.FAILED]


async def test_a_cancel_of_one_leaves_the_others_alone_m1(hub: Hub) -> None:
    async with hub.runner():
        other = await hub.submit(sleep=0.5)
        execution_id = await hub.submit(sleep=60)
        await hub.is_running(execution_id)
        await cancel(hub, execution_id)
        assert is_cancelled(await hub.ended(execution_id))
        assert (await hub.ended(other)).status is Status.COMPLETED


async def test_fault34_a_cancel_that_races_with_the_programs_end_leaves_one_terminal_event_m1(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, max_concurrent_executions=50)

    async def race(number: int) -> Status:
        execution_id = await hub.submit(sleep=0.3)
        await claimed(hub, execution_id)
        # From about its start to well after its end.
        await asyncio.sleep(number * 0.02)
        await cancel(hub, execution_id)
        return (await hub.ended(execution_id)).status  # one alone

    async with hub.runner():
        await hub.ended(await hub.submit())
        statuses = await asyncio.gather(*(race(number) for number in range(50)))
        await removed(hub)
    assert set(statuses) == {Status.COMPLETED, Status.CANCELLED}
    ends = [record for record in hub.bus.streams_.records[BusStream.LOG] if (record.message.id or "").endswith(":end")]
    assert len(ends) == 1 + 50


async def test_act_after_runs_with_143_and_a_cancel_does_not_stop_it_m1(tmp_path: Path) -> None:
    hub = with_actions(tmp_path, "act_after.py")
    async with hub.runner():
        execution_id = await hub.submit(sleep=60, after_stdout="tidied\n", after_sleep=0.3)
        await hub.is_running(execution_id)
        await cancel(hub, execution_id)
        ended = await hub.ended(execution_id)
    assert is_cancelled(ended)
    assert hub.fake.exit_codes[execution_id] == 143
    assert ended.lines_after == "[act_after] tidied\n"


async def test_while_act_after_tidies_up_the_program_has_ended_as_it_did_m1(tmp_path: Path) -> None:
    hub = with_actions(tmp_path, "act_after.py")
    async with hub.runner():
        execution_id = await hub.submit(exit_code=3, after_sleep=0.5)

        async def tidies() -> bool:
            return Step.AFTER in hub.fake.steps_of(execution_id)

        await eventually(tidies)
        await cancel(hub, execution_id)
        ended = await hub.ended(execution_id)
    assert (ended.status, ended.exit_code) == (Status.FAILED, 3)


async def test_while_act_before_runs_the_program_is_not_started_any_more_m1(tmp_path: Path) -> None:
    hub = with_actions(tmp_path)
    async with hub.runner():
        execution_id = await hub.submit(before_sleep=60)
        await hub.is_running(execution_id)
        await cancel(hub, execution_id)
        ended = await hub.ended(execution_id, within_seconds=20)
    assert is_cancelled(ended)
    assert (hub.fake.starts[execution_id], ended.exit_code) == (0, None)


async def test_a_runner_that_was_killed_stops_what_was_cancelled_meanwhile_m1_m2(hub: Hub) -> None:
    async with hub.crashing_runner():
        running = await hub.submit(sleep=60)
        prepared = await hub.submit(prepare_seconds=60)
        await hub.is_running(running)
        await claimed(hub, prepared)
    for execution_id in (running, prepared):
        await cancel(hub, execution_id)
    async with hub.runner():
        endings = [await hub.ended(execution_id, within_seconds=20) for execution_id in (running, prepared)]
        await removed(hub)
    assert [is_cancelled(ended) for ended in endings] == [True, True]
    assert [ended.exit_code for ended in endings] == [143, None]
    assert hub.fake.starts[prepared] == 0


async def test_a_runner_that_was_killed_while_it_stopped_a_cancelled_program_ends_it_as_cancelled_m1(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, stop_grace_seconds=0.5)
    async with hub.crashing_runner():
        execution_id = await hub.submit(sleep=60, ignore_sigterm="true")
        await hub.is_running(execution_id)
        await cancel(hub, execution_id)

        async def terminating() -> bool:
            return hub.fake.is_terminating(execution_id)

        await eventually(terminating)
    # The journal knows it even where the bus has forgotten.
    hub.bus.decisions_.first_ends.clear()
    async with hub.runner():
        ended = await hub.ended(execution_id, within_seconds=20)
    assert is_cancelled(ended)


async def test_what_waits_for_a_slot_after_a_restart_can_be_cancelled_m1(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, max_concurrent_executions=2)
    async with hub.crashing_runner():
        running = await hub.submit(sleep=60)
        waiting = await hub.submit(prepare_seconds=60)
        await hub.is_running(running)
        await claimed(hub, waiting)
    hub.set_settings(max_concurrent_executions=1)
    async with hub.runner(stop_limit_seconds=0):
        await asyncio.sleep(0.1)
        await cancel(hub, waiting)
        assert is_cancelled(await hub.ended(waiting, within_seconds=20))
        assert hub.fake.running == 1


@pytest.mark.parametrize("state", [ContainerState.RUNNING, ContainerState.ENDED])
async def test_what_nobody_can_take_up_ends_as_cancelled_where_it_was_m1(hub: Hub, state: ContainerState) -> None:
    async with hub.crashing_runner():
        execution_id = await hub.submit(sleep=60)
        await hub.is_running(execution_id)
    await cancel(hub, execution_id)
    if state is ContainerState.ENDED:
        await hub.fake.destroy(execution_id)
    hub.fake.adopt = not_adoptable  # type: ignore[method-assign, assignment]
    async with hub.runner():
        assert is_cancelled(await hub.ended(execution_id, within_seconds=20))
        await removed(hub)
