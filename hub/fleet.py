"""The runners that live: who they are by their leases, and what they say when they are asked."""

from collections.abc import Sequence
from typing import TypeVar

import structlog

from bus.ports import Leases, Questions
from gateway.errors import FleetBusy
from schemas.containers import Container, ContainerLog, Gathered
from schemas.errors import MalformedAnswer
from schemas.questions import (
    ActiveContainers,
    ActiveContainersAnswer,
    ContainerLogs,
    ContainerLogsAnswer,
    Question,
    Unable,
    parse_answer,
)

log = structlog.get_logger()

#: Seconds that runners have for their answer.
LIMIT_SECONDS = 5.0
#: Questions that may wait for their answers at the same time.
MOST_AT_A_TIME = 20
#: Characters of all logs together that are told.
MOST_LOG_LENGTH = 16 * 1024**2

A = TypeVar("A", ActiveContainersAnswer, ContainerLogsAnswer)


class Fleet:
    """Keeps the promises of :class:`gateway.ports.Fleet`."""

    def __init__(self, leases: Leases, questions: Questions, *, limit_seconds: float = LIMIT_SECONDS) -> None:
        """Somebody else follows the leases."""
        self._leases = leases
        self._questions = questions
        self._limit_seconds = limit_seconds
        self._asking = 0

    def size(self) -> int:
        """See :meth:`gateway.ports.Fleet.size`."""
        return len(self._leases.live())

    def capacity(self) -> int | None:
        """See :meth:`gateway.ports.Fleet.capacity`."""
        return sum(lease.max_concurrent_executions for lease in self._leases.live()) or None

    async def active_containers(self) -> Gathered[Container]:
        """See :meth:`gateway.ports.Fleet.active_containers`."""
        asked, answers = await self._ask(ActiveContainers(), ActiveContainersAnswer)
        return Gathered(
            found=[(runner_id, container) for runner_id, answer in answers for container in answer.containers],
            asked=len(asked),
            missing=_missing(asked, answers),
            truncated=any(answer.truncated for _, answer in answers),
        )

    async def container_logs(self, image: str) -> Gathered[ContainerLog]:
        """See :meth:`gateway.ports.Fleet.container_logs`."""
        asked, answers = await self._ask(ContainerLogs(image=image), ContainerLogsAnswer)
        found: list[tuple[str, ContainerLog]] = []
        length = 0
        truncated = any(answer.truncated for _, answer in answers)
        for runner_id, answer in answers:
            for told in answer.logs:
                length += len(told.stdout) + len(told.stderr)
                if length > MOST_LOG_LENGTH:
                    truncated = True
                    break
                found.append((runner_id, told))
        return Gathered(found=found, asked=len(asked), missing=_missing(asked, answers), truncated=truncated)

    async def _ask(self, question: Question, kind: type[A]) -> tuple[Sequence[str], Sequence[tuple[str, A]]]:
        """Who was asked, and the answers, both by runner id."""
        if self._asking >= MOST_AT_A_TIME:
            raise FleetBusy("too many questions wait for their answers")
        runner_ids = [lease.runner_id for lease in self._leases.live()]
        if not runner_ids:
            return (), ()
        self._asking += 1
        try:
            bodies = await self._questions.ask(runner_ids, question.to_bytes(), limit_seconds=self._limit_seconds)
        finally:
            self._asking -= 1
        answers = []
        for runner_id in runner_ids:
            answer = _parsed(runner_id, bodies.get(runner_id), kind)
            if answer is not None:
                answers.append((runner_id, answer))
        return runner_ids, answers


def _parsed(runner_id: str, body: bytes | None, kind: type[A]) -> A | None:
    """The answer of one runner, or ``None`` where there is none."""
    if body is None:
        why = "no answer in time"
    else:
        try:
            answer = parse_answer(body, kind)
        except MalformedAnswer as error:
            why = str(error)
        else:
            if not isinstance(answer, Unable):
                return answer
            why = answer.why
    log.warning("a runner did not answer", action="runner_missing", runner_id=runner_id, why=why)
    return None


def _missing(asked: Sequence[str], answers: Sequence[tuple[str, object]]) -> list[str]:
    answered = {runner_id for runner_id, _ in answers}
    return [runner_id for runner_id in asked if runner_id not in answered]
