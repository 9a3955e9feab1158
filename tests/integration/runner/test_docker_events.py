"""What Docker says by itself, on the real engine: ends are known by it, and changes of images; and nothing depends on it."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from runner.docker_engine import DockerEngine
from schemas.reasons import Reason
from schemas.status import Status
from tests.integration.runner.conftest import MakeHub, killed_for_want_of_memory
from tests.support.docker import docker
from tests.support.runner_fixtures import Hub
from tests.support.wait import eventually

IMAGE = f"pyexecutorhub-test-changing:{os.getpid()}"


async def _for_ever(_name: str) -> None:
    await asyncio.get_running_loop().create_future()


async def _listens(engine: DockerEngine) -> None:
    engine._events.begin()

    async def hears() -> bool:
        return engine._events._hears_of_ends and engine._events.hears_of_images

    await eventually(hears)


@pytest.mark.parametrize(
    ("source", "status", "exit_code"),
    [("print('all of it', end='')", Status.COMPLETED, 0), ("print('all of it', end=''); exit(3)", Status.FAILED, 3)],
)
async def test_an_end_and_its_code_are_known_before_docker_answers_anybody_who_asks(
    hub: MakeHub, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, source: str, status: Status, exit_code: int
) -> None:
    around = hub(source)
    await _listens(engine)
    for question in ("_wait_once", "_if_ended"):
        monkeypatch.setattr(engine._ends, question, _for_ever)
    async with around.runner():
        ended = await around.ended(await around.submit())

    assert (ended.status, ended.exit_code, ended.stdout.content) == (status, exit_code, "all of it")


async def test_an_end_is_asked_for_where_docker_says_nothing(
    hub: MakeHub, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = hub("print('all of it'); exit(3)")
    monkeypatch.setattr(engine._events, "begin", lambda: None)
    async with around.runner():
        ended = await around.ended(await around.submit())

    assert (ended.exit_code, ended.stdout.content) == (3, "all of it\n")
    assert not engine._events._awaited


async def test_fault17_t10_what_a_signal_ended_is_looked_at_all_the_same(hub: MakeHub, engine: DockerEngine) -> None:
    around = hub("x = bytearray(300 * 1024 * 1024)", memory_limit="64m")
    await _listens(engine)
    async with around.runner():
        ended = await killed_for_want_of_memory(around.run)

    assert (ended.reason, ended.exit_code, ended.oom_killed) == (Reason.OUT_OF_MEMORY, 137, True)


@pytest.fixture
def changing_image(python_image: str) -> Iterator[str]:
    """An image whose name is given to others."""
    _say(python_image, "first")
    yield IMAGE
    docker("rmi", "--no-prune", IMAGE)


def _say(image: str, word: str) -> None:
    container = docker("create", image, "true")
    docker("commit", f'--change=CMD ["echo", "{word}"]', container, IMAGE)
    docker("rm", container)


async def _remembers(around: Hub, engine: DockerEngine, image: str, output: str) -> None:
    """An image is remembered from the first run on, or a later one: all are forgotten where somebody changes any just then."""

    async def run() -> bool:
        assert (await around.run()).stdout.content == output
        return image in engine._images._known

    await eventually(run)


async def test_an_image_that_changed_under_its_name_is_looked_at_again(
    hub: MakeHub, engine: DockerEngine, changing_image: str, python_image: str
) -> None:
    # Arguments follow the image's own command, which has to be known for that.
    around = hub(docker_image=changing_image, parameters="said")
    (around.catalogues.current.project_dir / "example" / "main.py").unlink()
    await _listens(engine)
    async with around.runner():
        for word in ("first", "second"):
            await asyncio.to_thread(_say, python_image, word)
            await _remembers(around, engine, changing_image, f"{word} said\n")
            assert (await around.run()).stdout.content == f"{word} said\n"


async def test_nothing_is_remembered_of_images_while_changes_are_not_heard_of(
    hub: MakeHub, engine: DockerEngine, python_image: str
) -> None:
    around = hub("print('here')")
    await _listens(engine)
    async with around.runner():
        await _remembers(around, engine, python_image, "here\n")
        await engine._events.close()
        assert not engine._images._known
        assert (await around.ended(await around.submit())).status is Status.COMPLETED


@pytest.fixture
async def asked(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """The times that the version was asked for."""
    times: list[str] = []
    ask = engine._version._ask

    async def counted() -> str:
        times.append(await ask())
        return times[-1]

    monkeypatch.setattr(engine._version, "_ask", counted)
    yield times


async def test_fault13_the_version_is_asked_once_in_a_life_of_the_daemon(engine: DockerEngine, asked: list[str]) -> None:
    said = {await engine.ping() for _ in range(5)}
    assert said == {f"Docker {asked[0]}"}
    assert len(asked) == 2  # before it was known which life that is, and in it
    engine._daemon._current = None  # as after it was missed
    await engine.ping()
    assert len(asked) > 2
