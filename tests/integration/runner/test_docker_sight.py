"""What a runner tells of its containers on the real Docker engine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runner import labels
from runner.answers import Answers
from runner.docker_engine import DockerEngine
from runner.engine import RunningContainer, Tail
from runner.errors import ContainerGone
from runner.identity import Identity
from schemas.questions import (
    ActiveContainers,
    ActiveContainersAnswer,
    ContainerLogs,
    ContainerLogsAnswer,
    parse_answer,
)
from tests.integration.runner.conftest import MakeHub
from tests.support.docker import SOCKET, docker
from tests.support.wait import eventually

IMAGE = f"localhost:5000/team/app-{os.getpid()}:1"


@contextmanager
def container(image: str, *command: str, owner: Identity | None, options: tuple[str, ...] = ()) -> Iterator[str]:
    """A container of somebody's that runs this; its id."""
    whose = {} if owner is None else {labels.INSTANCE: owner.instance, labels.RUNNER_ID: owner.runner_id}
    words = [f"--label={key}={value}" for key, value in whose.items()]
    container_id = docker("run", "--detach", *words, *options, image, *command)
    try:
        yield container_id
    finally:
        docker("rm", "--force", container_id)


@pytest.fixture
def tagged_image(python_image: str) -> Iterator[str]:
    """The same image under a name with slashes and a port."""
    docker("tag", python_image, IMAGE)
    yield IMAGE
    docker("rmi", "--no-prune", IMAGE)


async def active(engine: DockerEngine) -> list[tuple[str, str]]:
    """Name and image of what is told."""
    answer = parse_answer(await Answers(engine).answer(ActiveContainers().to_bytes()), ActiveContainersAnswer)
    assert isinstance(answer, ActiveContainersAnswer)
    return [(container.name, container.image) for container in answer.containers]


async def logs(engine: DockerEngine, image: str) -> ContainerLogsAnswer:
    """What is told of an image."""
    answer = parse_answer(await Answers(engine).answer(ContainerLogs(image=image).to_bytes()), ContainerLogsAnswer)
    assert isinstance(answer, ContainerLogsAnswer)
    return answer


async def tail_of(engine: DockerEngine, container_id: str, expected: Tail, *, lines: int = 100) -> None:
    await eventually(lambda: engine.tail(container_id, lines, 1_000), lambda tail: tail == expected)


async def test_a_running_program_is_told_with_its_image_and_the_end_of_both_streams_c1_c2_b9(
    hub: MakeHub, engine: DockerEngine, tagged_image: str
) -> None:
    around = hub(
        """
        import sys, time
        for number in range(150):
            print("line", number)
        sys.stdout.flush()
        time.sleep(1)  # Docker reads the two streams side by side: which comes first in its log is chance otherwise
        sys.stderr.buffer.write(b"caf\\xc3\\xa9 \\xff\\n")
        sys.stderr.flush()
        time.sleep(60)
        """,
        docker_image=tagged_image,
    )
    async with around.runner(stop_limit_seconds=0):
        execution_id = await around.submit()
        await around.is_running(execution_id)

        assert await active(engine) == [(execution_id, IMAGE)]
        (running,) = await engine.list_running()
        assert running.status.startswith("Up")

        answer = await eventually(lambda: logs(engine, IMAGE), lambda answer: "\ufffd" in answer.logs[0].stderr)
        (log,) = answer.logs
        assert log.container_id == running.container_id[:12]
        # 99 of the 100 last lines are stdout's, as stderr has the last one.
        assert log.stdout.splitlines() == [f"line {number}" for number in range(51, 150)]
        assert log.stderr == "caf\u00e9 \ufffd\n"
        assert not log.truncated
        assert (await logs(engine, IMAGE.removesuffix(":1"))).logs == ()
    await engine.stop(execution_id, 0.1)
    assert await active(engine) == []


async def test_only_containers_of_this_very_runner_are_told_so_two_on_one_engine_repeat_nothing_c1_c2(
    engine: DockerEngine, identity: Identity, python_image: str
) -> None:
    other = Identity(identity.instance, "another-runner")
    sleep = ("sleep", "60")
    with (
        container(python_image, *sleep, owner=identity) as mine,
        container(python_image, *sleep, owner=other) as others,
        container(python_image, *sleep, owner=Identity("another-hub", identity.runner_id)),
        container(python_image, *sleep, owner=None),
    ):
        assert [found.container_id for found in await engine.list_running()] == [mine]
        assert [log.container_id for log in (await logs(engine, python_image)).logs] == [mine[:12]]
        neighbour = DockerEngine(identity=other, socket_path=SOCKET)
        try:
            assert [found.container_id for found in await neighbour.list_running()] == [others]
        finally:
            await neighbour.close()


async def test_a_derived_image_goes_by_the_name_in_config_yaml_c1(
    engine: DockerEngine, identity: Identity, python_image: str
) -> None:
    label = f"--label={labels.IMAGE}=the-configured-one"
    with container(python_image, "sh", "-c", "echo hello; sleep 60", owner=identity, options=(label,)) as mine:
        ((_, image),) = await active(engine)
        assert image == "the-configured-one"
        for name in ("the-configured-one", "the-configured-one:latest"):
            assert [log.container_id for log in (await logs(engine, name)).logs] == [mine[:12]]
        assert (await logs(engine, python_image)).logs == ()


async def test_a_container_with_a_terminal_has_one_stream(engine: DockerEngine, identity: Identity, python_image: str) -> None:
    with container(python_image, "sh", "-c", "echo out; echo err >&2; sleep 60", options=("--tty",), owner=identity) as mine:
        await tail_of(engine, mine, Tail(b"out\r\nerr\r\n", b"", truncated=False))


async def test_what_is_too_long_is_cut_in_front_and_said_so(
    engine: DockerEngine, identity: Identity, python_image: str
) -> None:
    script = "head -c 5000 /dev/zero | tr '\\0' x; echo; echo short; sleep 60"
    with container(python_image, "sh", "-c", script, owner=identity) as mine:
        await tail_of(engine, mine, Tail(b"short\n", b"", truncated=True))
        await tail_of(engine, mine, Tail(b"short\n", b"", truncated=False), lines=1)


async def test_a_container_that_is_gone_or_stopped_is_not_told(
    engine: DockerEngine, identity: Identity, python_image: str
) -> None:
    with container(python_image, "sleep", "60", owner=identity) as mine:
        docker("pause", mine)
        (paused,) = await engine.list_running()
        assert "(Paused)" in paused.status
        docker("kill", mine)

        async def running() -> list[RunningContainer]:
            return await engine.list_running()

        await eventually(running, lambda found: found == [])
    with pytest.raises(ContainerGone):
        await engine.tail(mine, 1, 1)
