"""Asking the runners that live."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field

import pytest

from bus.attendance import Attendance
from bus.errors import BusUnavailable
from bus.messages import Lease
from bus.ports import AnswerHandler
from gateway.errors import FleetBusy
from hub import fleet as fleets
from hub.fleet import Fleet
from schemas.containers import Container, ContainerLog
from schemas.questions import (
    ActiveContainers,
    ActiveContainersAnswer,
    ContainerLogs,
    ContainerLogsAnswer,
    Question,
    Unable,
    parse_question,
)
from schemas.times import utc_now


@dataclass
class FakeLeases:
    """Leases that tests write."""

    limits: dict[str, int] = field(default_factory=dict)

    async def keep(self, lease: Lease) -> None:
        """Not used by the read side."""
        raise NotImplementedError

    async def follow(self) -> None:
        """Not used by the fleet itself."""
        raise NotImplementedError

    async def rival_of(self, lease: Lease) -> Lease | None:
        """Not used by the read side."""
        raise NotImplementedError

    def ticks(self, seconds: float) -> AsyncIterator[Attendance]:
        """Not used by the read side."""
        raise NotImplementedError

    def live(self) -> list[Lease]:
        """Those that were written."""
        now = utc_now()
        return [
            Lease(runner_id=name, epoch="e", pool="p", max_concurrent_executions=limit, started_at=now, written_at=now)
            for name, limit in self.limits.items()
        ]


@dataclass
class FakeQuestions:
    """Answers that tests write."""

    answers: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[list[str], Question]] = field(default_factory=list)
    error: Exception | None = None
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, runner_id: str, handler: AnswerHandler) -> None:
        """Not used by the read side."""
        raise NotImplementedError

    async def ask(self, runner_ids: Collection[str], question: bytes, *, limit_seconds: float) -> Mapping[str, bytes]:
        """The answers of those who have one."""
        assert limit_seconds == fleets.LIMIT_SECONDS
        self.asked.append((list(runner_ids), parse_question(question)))
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return {runner_id: self.answers[runner_id] for runner_id in runner_ids if runner_id in self.answers}


@pytest.fixture
def leases() -> FakeLeases:
    return FakeLeases({"a": 2, "b": 3})


@pytest.fixture
def questions() -> FakeQuestions:
    questions = FakeQuestions()
    questions.may_answer.set()
    return questions


@pytest.fixture
def fleet(leases: FakeLeases, questions: FakeQuestions) -> Fleet:
    return Fleet(leases, questions)


def container(name: str) -> Container:
    return Container(container_id=name, image="i", status="Up", name=name)


def log(name: str, length: int = 1) -> ContainerLog:
    return ContainerLog(container_id=name, stdout="x" * length, stderr="", truncated=False)


def test_e11_the_limits_of_all_live_runners_add_up(fleet: Fleet, leases: FakeLeases) -> None:
    assert (fleet.size(), fleet.capacity()) == (2, 5)
    leases.limits.clear()
    assert (fleet.size(), fleet.capacity()) == (0, None)


async def test_c2_what_all_runners_say_is_put_together(fleet: Fleet, questions: FakeQuestions) -> None:
    questions.answers = {
        "a": ActiveContainersAnswer(containers=(container("1"), container("2"))).to_bytes(),
        "b": ActiveContainersAnswer(containers=(container("3"),), truncated=True).to_bytes(),
    }
    gathered = await fleet.active_containers()
    assert questions.asked == [(["a", "b"], ActiveContainers())]
    assert [(runner_id, one.name) for runner_id, one in gathered.found] == [("a", "1"), ("a", "2"), ("b", "3")]
    assert (gathered.asked, gathered.missing, gathered.truncated) == (2, [], True)


@pytest.mark.parametrize(
    "answer",
    [None, b"", b"{}", Unable(why="Docker is away").to_bytes(), ActiveContainersAnswer(containers=()).to_bytes()],
    ids=["silent", "empty", "unknown", "unable", "of another kind"],
)
async def test_c1_a_runner_that_does_not_answer_what_was_asked_is_named(
    fleet: Fleet, questions: FakeQuestions, answer: bytes | None
) -> None:
    questions.answers = {"a": ContainerLogsAnswer(logs=(log("1"),)).to_bytes()}
    if answer is not None:
        questions.answers["b"] = answer
    gathered = await fleet.container_logs("host:5000/x")
    assert questions.asked == [(["a", "b"], ContainerLogs(image="host:5000/x", tail=100))]
    assert gathered.found == [("a", log("1"))]
    assert (gathered.asked, gathered.missing, gathered.truncated) == (2, ["b"], False)


async def test_c1_all_logs_together_are_bounded(
    fleet: Fleet, questions: FakeQuestions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleets, "MOST_LOG_LENGTH", 10)
    questions.answers = {
        "a": ContainerLogsAnswer(logs=(log("1", 6), log("2", 4), log("3", 1))).to_bytes(),
        "b": ContainerLogsAnswer(logs=(log("4", 1),)).to_bytes(),
    }
    gathered = await fleet.container_logs("i")
    assert [one.container_id for _, one in gathered.found] == ["1", "2"]
    assert (gathered.missing, gathered.truncated) == ([], True)


async def test_where_no_runner_lives_nobody_is_asked(fleet: Fleet, leases: FakeLeases, questions: FakeQuestions) -> None:
    leases.limits.clear()
    gathered = await fleet.active_containers()
    assert (list(gathered.found), gathered.asked, list(gathered.missing)) == ([], 0, [])
    assert questions.asked == []


async def test_only_so_many_questions_wait_at_a_time(fleet: Fleet, questions: FakeQuestions) -> None:
    questions.may_answer.clear()
    waiting = [asyncio.create_task(fleet.active_containers()) for _ in range(fleets.MOST_AT_A_TIME)]
    await asyncio.sleep(0)
    with pytest.raises(FleetBusy):
        await fleet.active_containers()
    questions.may_answer.set()
    assert {tuple(gathered.missing) for gathered in await asyncio.gather(*waiting)} == {("a", "b")}
    assert (await fleet.active_containers()).asked == 2


async def test_a_bus_that_is_away_is_said_and_takes_no_place(fleet: Fleet, questions: FakeQuestions) -> None:
    questions.error = BusUnavailable("away")
    for _ in range(fleets.MOST_AT_A_TIME + 1):
        with pytest.raises(BusUnavailable):
            await fleet.container_logs("i")
