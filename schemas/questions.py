"""Questions to a live runner, and its answers. Both travel as JSON."""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.containers import Container, ContainerLog
from schemas.errors import MalformedAnswer, MalformedQuestion

#: Lines that ``ContainerLogs`` asks for by default, as the seed does, and at most.
LOG_LINES = 100
_MOST_LOG_LINES = 1_000
#: More containers than a runner runs; those beyond are left out, and the answer says so.
MOST_CONTAINERS = 1_000


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_bytes(self) -> bytes:
        """The message as it travels."""
        return self.model_dump_json().encode()


class ActiveContainers(_Message):
    """Which containers of yours run now?"""

    kind: Literal["active_containers"] = "active_containers"


class ContainerLogs(_Message):
    """What have the containers of this image written lately, those that run now?"""

    kind: Literal["container_logs"] = "container_logs"
    image: str
    tail: Annotated[int, Field(ge=1, le=_MOST_LOG_LINES)] = LOG_LINES


Question = ActiveContainers | ContainerLogs


class ActiveContainersAnswer(_Message):
    """The containers, and whether there are more than fit."""

    kind: Literal["active_containers"] = "active_containers"
    containers: tuple[Container, ...]
    truncated: bool = False


class ContainerLogsAnswer(_Message):
    """Their logs, and whether there are more containers than fit."""

    kind: Literal["container_logs"] = "container_logs"
    logs: tuple[ContainerLog, ...]
    truncated: bool = False


class Unable(_Message):
    """The runner is there and can't tell."""

    kind: Literal["unable"] = "unable"
    why: str


Answer = ActiveContainersAnswer | ContainerLogsAnswer | Unable

_QUESTION: TypeAdapter[Question] = TypeAdapter(Annotated[Question, Field(discriminator="kind")])
_ANSWER: TypeAdapter[Answer] = TypeAdapter(Annotated[Answer, Field(discriminator="kind")])

A = TypeVar("A", ActiveContainersAnswer, ContainerLogsAnswer)


def parse_question(body: bytes) -> Question:
    """The question in a message.

    Raises:
        MalformedQuestion: it is none that this version knows.
    """
    try:
        return _QUESTION.validate_json(body)
    except ValidationError as error:
        raise MalformedQuestion(f"not a question that this runner knows: {error.error_count()} mistakes") from error


def parse_answer(body: bytes, kind: type[A]) -> A | Unable:
    """The answer in a message, to a question that wants this kind.

    Raises:
        MalformedAnswer: it is another one.
    """
    try:
        answer = _ANSWER.validate_json(body)
    except ValidationError as error:
        raise MalformedAnswer(f"not a {kind.__name__}: {error.error_count()} mistakes") from error
    if not isinstance(answer, kind | Unable):
        raise MalformedAnswer(f"not a {kind.__name__}, but a {type(answer).__name__}")
    return answer
