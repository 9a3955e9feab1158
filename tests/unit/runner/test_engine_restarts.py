"""The engine is restarted under programs: what they are told to have done."""

import asyncio
from pathlib import Path

import pytest

from runner.fake_engine import FakeEngine
from runner.steps import Step
from schemas.reasons import Category, Reason
from schemas.status import Status
from tests.support.runner_fixtures import make_hub, make_program
from tests.support.wait import eventually
from tests.unit.runner.test_actions import with_actions


@pytest.mark.parametrize("exit_code", [143, 137, 0])
async def test_fault14_t11_what_a_restart_ended_has_failed_for_that_reason_whatever_its_exit_code(
    tmp_path: Path, exit_code: int
) -> None:
    hub = make_hub(tmp_path)
    async with hub.runner():
        execution_id = await hub.submit(sleep="60", stdout="begun\n")
        await hub.is_running(execution_id)
        hub.fake.restart(exit_code)
        ended = await hub.ended(execution_id)
    assert (ended.status, ended.reason, ended.category) == (Status.FAILED, Reason.DOCKER_RESTARTED, Category.SYSTEM)
    assert "Docker was restarted" in (ended.message or "")
    assert ended.stdout.content == "begun\n"


async def test_fault14_t11_a_program_that_exits_as_if_it_had_been_stopped_is_told_what_it_did(tmp_path: Path) -> None:
    hub = make_hub(tmp_path)
    async with hub.runner():
        for code in (143, 137):
            ended = await hub.ended(await hub.submit(exit_code=str(code)))
            assert (ended.status, ended.reason, ended.exit_code) == (Status.FAILED, Reason.EXIT_CODE, code)


async def test_fault14_a_restart_during_act_before_is_no_fault_of_the_action(tmp_path: Path) -> None:
    hub = with_actions(tmp_path)
    async with hub.runner():
        execution_id = await hub.submit(before_sleep="60")
        await hub.is_running(execution_id)
        hub.fake.restart()
        ended = await hub.ended(execution_id)
    assert (ended.status, ended.reason) == (Status.FAILED, Reason.DOCKER_RESTARTED)
    assert "so the program was not run" in (ended.message or "")


async def test_fault14_m8_what_a_restart_ended_is_tried_again_where_lost_runners_are(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, make_program(retry={"max": 1, "on": ["runner_lost"], "backoff": "1s"}))
    async with hub.runner():
        execution_id = await hub.submit(sleep="60")
        await hub.is_running(execution_id)
        hub.fake.restart()

        async def attempts() -> list[Reason | None]:
            return [attempt.reason for attempt in hub.attempts_ended(execution_id)]

        assert await eventually(attempts) == [Reason.DOCKER_RESTARTED]


@pytest.mark.parametrize("is_known", [True, False])
async def test_fault14_t5_what_an_engine_that_was_restarted_may_have_begun_is_not_started_again(
    tmp_path: Path, is_known: bool
) -> None:
    """The runner was killed around the start, and the engine too: a container that looks unstarted proves nothing."""

    class Dying(FakeEngine):
        dies = True

        async def start(self, name: str, step: Step = Step.PROGRAM, *, exit_code: int = 0) -> None:
            if self.dies:
                starting.set()
                await asyncio.Event().wait()
            await super().start(name, step, exit_code=exit_code)

    engine = Dying()
    starting = asyncio.Event()
    hub = make_hub(tmp_path, engine=engine)
    async with hub.crashing_runner():
        execution_id = await hub.submit(stdout="ran")
        await asyncio.wait_for(starting.wait(), 10)
    engine.dies = False
    if not is_known:
        engine.unsure.add(execution_id)
    async with hub.runner():
        ended = await hub.ended(execution_id)
    wanted = (Status.COMPLETED, None, 1) if is_known else (Status.FAILED, Reason.DOCKER_RESTARTED, 0)
    assert (ended.status, ended.reason, engine.starts[execution_id]) == wanted
