"""What a runner says about its containers."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from bus.limits import MOST_ANSWER_BYTES
from runner import labels
from runner.answers import Answers
from runner.engine import RunningContainer, Tail
from runner.errors import ContainerGone
from runner.fake_engine import FakeEngine
from runner.run_spec import RunSpec
from schemas.containers import Container
from schemas.questions import (
    MOST_CONTAINERS,
    ActiveContainers,
    ActiveContainersAnswer,
    ContainerLogs,
    ContainerLogsAnswer,
    Unable,
    parse_answer,
)
from tests.support.wait import eventually
from tests.unit.runner.test_fake_engine import spec

IMAGE = "registry.local:5000/team/app"


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    engine = FakeEngine()
    yield engine
    await engine.close()


async def start(engine: FakeEngine, name: str, image: str | None = IMAGE, **settings: object) -> None:
    wanted: RunSpec = spec(name, sleep=30, **settings)
    wanted = replace(wanted, image="derived:1", labels={} if image is None else {labels.IMAGE: image})
    await engine.prepare(wanted)
    await engine.start(name)


async def active(engine: FakeEngine) -> ActiveContainersAnswer:
    answer = parse_answer(await Answers(engine).answer(ActiveContainers().to_bytes()), ActiveContainersAnswer)
    assert isinstance(answer, ActiveContainersAnswer)
    return answer


async def logs(engine: FakeEngine, image: str = IMAGE, tail: int = 100) -> ContainerLogsAnswer:
    answer = parse_answer(await Answers(engine).answer(ContainerLogs(image=image, tail=tail).to_bytes()), ContainerLogsAnswer)
    assert isinstance(answer, ContainerLogsAnswer)
    return answer


async def test_c2_running_containers_are_told_with_the_image_that_config_yaml_names(engine: FakeEngine) -> None:
    await start(engine, "one")
    await start(engine, "a-service", image=None)
    await start(engine, "ended")
    await engine.stop("ended", 0)

    answer = await active(engine)

    assert answer.containers == (
        Container(container_id="id-of-a-serv", image="derived:1", status="Up 1 second", name="a-service"),
        Container(container_id="id-of-one", image=IMAGE, status="Up 1 second", name="one"),
    )
    assert not answer.truncated


async def test_c1_logs_are_those_of_the_image_with_bytes_replaced_that_are_no_text(engine: FakeEngine) -> None:
    await start(engine, "one", stdout="of one\n", stderr="aside")
    await start(engine, "other", image="other:1", stdout="of another\n")
    await eventually(lambda: engine.tail("id-of-other", 1, 99), lambda tail: tail.stdout != b"")

    for name in (IMAGE, f"{IMAGE}:latest"):
        (log,) = (await logs(engine, name)).logs
        assert (log.container_id, log.stdout, log.stderr, log.truncated) == ("id-of-one", "of one\n", "aside", False)
    for name in ("team/app", f"{IMAGE}:2", "derived:1", ""):
        assert (await logs(engine, name)).logs == ()


class ManyContainers(FakeEngine):
    """An engine with more and longer logs than anybody wants to read; every other container is gone when asked for."""

    def __init__(self, number: int, byte: bytes = b"x") -> None:
        super().__init__()
        self._byte = byte
        self._number = number
        self.tails = 0

    async def list_running(self) -> list[RunningContainer]:
        return [RunningContainer(str(number), str(number), IMAGE, "Up", {}) for number in range(self._number)]

    async def tail(self, container_id: str, lines: int, most_bytes: int) -> Tail:
        assert lines == 100
        self.tails += 1
        if int(container_id) % 2:
            raise ContainerGone(container_id)
        return Tail(self._byte * most_bytes, self._byte * most_bytes, truncated=True)


async def test_c2_a_list_is_bounded_and_says_that_it_leaves_something_out() -> None:
    listed = await active(ManyContainers(MOST_CONTAINERS + 1))
    assert (len(listed.containers), listed.truncated) == (MOST_CONTAINERS, True)


@pytest.mark.parametrize(
    ("byte", "shown", "fit"), [(b"x", "x", 11), (b"\xff", "\N{REPLACEMENT CHARACTER}", 3), (b"\0", "\0", 1)]
)
async def test_c1_the_logs_of_an_answer_always_fit_into_a_message(byte: bytes, shown: str, fit: int) -> None:
    engine = ManyContainers(MOST_CONTAINERS, byte)

    told = await logs(engine)

    assert told.truncated
    assert [log.container_id for log in told.logs] == [str(2 * number) for number in range(fit)]
    assert told.logs[0].stdout == shown * 256 * 1024
    assert len(told.to_bytes()) <= MOST_ANSWER_BYTES
    assert engine.tails <= 2 * fit + 2


async def test_a_container_that_ends_meanwhile_is_left_out() -> None:
    assert [log.container_id for log in (await logs(ManyContainers(4))).logs] == ["0", "2"]


async def test_a_runner_whose_engine_is_away_says_that_it_can_not_tell(engine: FakeEngine) -> None:
    engine.away = True
    answer = await Answers(engine).answer(ActiveContainers().to_bytes())
    assert parse_answer(answer, ActiveContainersAnswer) == Unable(why="the fake engine is away")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"kind": "later"}', b'{"kind": "container_logs", "image": "a", "tail": 0}'])
async def test_a_question_that_is_not_understood_is_answered_all_the_same(engine: FakeEngine, body: bytes) -> None:
    answer = parse_answer(await Answers(engine).answer(body), ContainerLogsAnswer)
    assert isinstance(answer, Unable)
    assert "not a question" in answer.why
