"""Stopping, crashing and coming back, with real containers."""

import asyncio

import pytest

from runner import labels
from runner.container_config import ImageCommand, create_body
from runner.docker_engine import DockerEngine
from runner.engine import ContainerState
from runner.errors import AlreadyStarted
from runner.identity import Identity
from runner.run_spec import RunSpec
from schemas.ids import new_execution_id
from schemas.reasons import Reason
from schemas.status import Status
from tests.integration.runner.conftest import MakeHub
from tests.support.docker import containers
from tests.support.wait import eventually

_COUNT_A_START = "import time; open('/workspace/starts', 'a').write('x'); time.sleep(60)"


async def test_a_graceful_stop_lets_programs_end_within_the_limit(hub: MakeHub) -> None:
    around = hub("import time; time.sleep(1); print('done')")
    async with around.runner(stop_limit_seconds=20):
        execution_id = await around.submit()
        await around.is_running(execution_id)

    ended = await around.ended(execution_id)
    assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "done\n")


async def test_a_stop_while_a_program_is_being_started_starts_it_once_m26(hub: MakeHub) -> None:
    around = hub(_COUNT_A_START, stop_grace_seconds=1, timeout_seconds=3)
    starts = around.catalogues.current.project_dir / "example" / "starts"
    for delay in (0.0, 0.02, 0.05, 0.2):
        starts.unlink(missing_ok=True)
        async with around.runner(stop_limit_seconds=0):
            execution_id = await around.submit()
            await asyncio.sleep(delay)
        # What was started is taken up by the next life, what was claimed and not started is started by it, and what was not
        # claimed is taken by it.
        async with around.runner():
            ended = await around.ended(execution_id)
        assert (ended.reason, starts.read_text()) == (Reason.TIMEOUT, "x")
        assert containers(execution_id=execution_id) == []


async def test_a_container_that_no_claim_owns_is_removed_at_the_start_and_another_runners_is_not(
    hub: MakeHub, engine: DockerEngine, identity: Identity, python_image: str
) -> None:
    around = hub()
    folder = str(around.catalogues.current.project_dir / "example")
    stray = _spec(identity, python_image, folder)
    other = _spec(Identity(identity.instance, "somebody-else"), python_image, folder)
    for spec in (stray, other):
        await engine.prepare(spec)

    async with around.runner():

        async def left() -> list[str]:
            return containers(execution_id=stray.execution_id)

        await eventually(left, lambda names: names == [])

    assert containers(execution_id=other.execution_id) == [other.name]
    await engine.destroy(other.name)


async def test_what_was_created_and_not_started_is_replaced_and_what_was_started_never_starts_again_t5(
    hub: MakeHub, engine: DockerEngine, identity: Identity, python_image: str
) -> None:
    around = hub()
    spec = _spec(identity, python_image, str(around.catalogues.current.project_dir / "example"))

    first = await engine.prepare(spec)
    second = await engine.prepare(spec)
    assert first != second

    await engine.start(spec.name)
    assert (await engine.wait(spec.name)).code == 0
    found = await engine.find(spec.name)
    assert found is not None
    assert found.state is ContainerState.ENDED
    with pytest.raises(AlreadyStarted):
        await engine.prepare(spec)

    await engine.destroy(spec.name)
    await engine.destroy(spec.name)
    assert await engine.find(spec.name) is None


def _spec(identity: Identity, image: str, folder: str) -> RunSpec:
    execution_id = new_execution_id()
    spec = RunSpec(
        execution_id=execution_id,
        attempt=1,
        program_id="example",
        image=image,
        argv=("python", "-c", "print(1)"),
        env={},
        host_folder=folder,
        memory_bytes=64 * 1024**2,
        nano_cpus=500_000_000,
        pids_limit=20,
        timeout_seconds=10,
        stop_grace_seconds=1,
        action_timeout_seconds=60,
        labels={
            labels.MANAGED: "true",
            labels.INSTANCE: identity.instance,
            labels.RUNNER_ID: identity.runner_id,
            labels.EXECUTION_ID: execution_id,
            labels.ATTEMPT: "1",
        },
    )
    assert create_body(spec, ImageCommand())["Labels"] == spec.labels
    return spec
