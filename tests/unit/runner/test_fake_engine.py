import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runner.engine import ContainerState, Engine, Exit, Frame, Tail
from runner.errors import AlreadyStarted, CannotRun, ContainerGone, EngineUnavailable, OutOfOrder
from runner.fake_engine import FakeEngine
from runner.run_spec import RunSpec
from schemas.output import StreamName
from schemas.reasons import Reason
from tests.support.wait import eventually


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    engine = FakeEngine()
    yield engine
    await engine.close()


def spec(name: str = "x", **settings: Any) -> RunSpec:
    return RunSpec(
        execution_id=name,
        attempt=1,
        program_id="p",
        image="i",
        argv=None,
        env={f"PARAM_{key.upper()}": str(value) for key, value in settings.items()},
        host_folder="/",
        memory_bytes=1,
        nano_cpus=1,
        pids_limit=1,
        timeout_seconds=1,
        stop_grace_seconds=1,
        action_timeout_seconds=60,
        labels={"a": "b"},
    )


async def started(engine: Engine, **settings: Any) -> str:
    wanted = spec(**settings)
    await engine.prepare(wanted)
    await engine.start(wanted.name)
    return wanted.name


async def read(engine: Engine, name: str) -> list[Frame]:
    return [frame async for frame in engine.output(name)]


async def test_it_does_what_the_environment_says(engine: FakeEngine) -> None:
    name = await started(engine, stdout="out", stderr="err", repeat=20, exit_code=3)
    frames = await read(engine, name)
    assert frames == [Frame(StreamName.STDOUT, b"out"), Frame(StreamName.STDERR, b"err")] * 20
    assert await engine.wait(name) == Exit(3)


@pytest.mark.parametrize(("oom", "exit_"), [("main", Exit(137, oom_killed=True)), ("child", Exit(0, oom_killed=True))])
async def test_it_runs_out_of_memory(engine: FakeEngine, oom: str, exit_: Exit) -> None:
    assert await engine.wait(await started(engine, oom=oom)) == exit_


async def test_a_program_is_ended_by_sigterm_or_after_the_grace_by_sigkill(engine: FakeEngine) -> None:
    name = await started(engine, sleep=60)
    await engine.stop(name, 60)
    assert await engine.wait(name) == Exit(143)
    await engine.destroy(name)

    name = await started(engine, sleep=60, ignore_sigterm="true")
    await engine.stop(name, 0.01)
    assert await engine.wait(name) == Exit(137)
    await engine.stop(name, 0.01)


async def test_destroy_is_right_at_any_point_and_again(engine: FakeEngine) -> None:
    await engine.destroy("x")
    name = await started(engine, sleep=60)
    waiting = asyncio.create_task(engine.wait(name))
    await asyncio.sleep(0)
    await engine.destroy(name)
    await engine.destroy(name)
    with pytest.raises(ContainerGone):
        await waiting
    assert (engine.containers, engine.running) == (frozenset(), 0)


async def test_it_fails_as_it_is_told(engine: FakeEngine) -> None:
    with pytest.raises(CannotRun) as caught:
        await engine.prepare(spec(prepare_error="image_not_found"))
    assert caught.value.reason is Reason.IMAGE_NOT_FOUND
    with pytest.raises(CannotRun):
        await started(engine, start_error="start_failed")
    engine.away = True
    calls = [engine.ping(), engine.prepare(spec()), engine.start("x"), engine.stop("x", 1), engine.destroy("x")]
    for call in (*calls, engine.list_ours(), engine.find("x")):
        with pytest.raises(EngineUnavailable):
            await call


async def test_a_container_is_found_in_its_state(engine: FakeEngine) -> None:
    assert await engine.find("x") is None
    await engine.prepare(spec(sleep=60))
    assert [found.state for found in await engine.list_ours()] == [ContainerState.CREATED]
    await engine.start("x")
    found = await engine.find("x")
    assert found is not None
    assert (found.state, found.labels) == (ContainerState.RUNNING, {"a": "b"})


async def test_it_complains_when_it_is_called_out_of_order(engine: FakeEngine) -> None:
    with pytest.raises(OutOfOrder):
        await engine.start("x")
    await engine.prepare(spec())
    await engine.prepare(spec())
    with pytest.raises(OutOfOrder):
        await engine.wait("x")
    with pytest.raises(OutOfOrder):
        await read(engine, "x")
    await engine.start("x")
    with pytest.raises(OutOfOrder):
        await engine.start("x")
    await read(engine, "x")
    with pytest.raises(OutOfOrder):
        await read(engine, "x")
    with pytest.raises(AlreadyStarted):
        await engine.prepare(spec())
    assert engine.starts["x"] == 1


async def test_it_shows_what_runs_and_the_end_of_what_it_wrote(engine: FakeEngine) -> None:
    name = await started(engine, stdout="out", stderr="err", repeat=2, sleep=30)
    reading = asyncio.create_task(read(engine, name))
    (running,) = await engine.list_running()
    assert (running.name, running.image, dict(running.labels)) == (name, "i", {"a": "b"})
    end = Tail(b"out", b"errerr", truncated=False)
    await eventually(lambda: engine.tail(running.container_id, 3, 100), lambda tail: tail == end)
    assert await engine.tail(running.container_id, 4, 4) == Tail(b"tout", b"rerr", truncated=True)
    await engine.stop(name, 0)
    await reading
    assert await engine.list_running() == []
    await engine.destroy(name)
    with pytest.raises(ContainerGone):
        await engine.tail(running.container_id, 1, 1)
