"""How far the preparation of an execution has come, as events."""

from enum import StrEnum
from typing import Self

from pydantic import Field, TypeAdapter, ValidationError

from schemas.cloud_events import TYPE_PREFIX, AttemptFact, CloudEvent
from schemas.errors import MalformedEvent
from schemas.ids import is_execution_id
from schemas.times import Time, microseconds

#: How the keys of progress begin; no status is called so.
PROGRESS_KEYS = "execution.progress."
#: Longest :attr:`Progress.message`, in characters.
MAX_PROGRESS = 1_000


class Phase(StrEnum):
    """What keeps a queued execution from running yet, once a runner has taken it."""

    #: Its image is being fetched.
    PULL = "pull"
    #: What its ``requirements.txt`` asks for is being installed.
    INSTALL = "install"
    #: Its Compose file's images are being built.
    BUILD = "build"


class Progress(AttemptFact):
    """How far the preparation of a queued execution has come. It changes no status."""

    phase: Phase
    #: For people: ``Pulling image python:3.11-slim``.
    message: str = Field(max_length=MAX_PROGRESS)
    percent: int | None = Field(default=None, ge=0, le=100)
    #: Rises from step to step of one attempt, over restarts of its runner too.
    happened_at: Time


class ProgressEvent(CloudEvent):
    """How far a preparation has come, as subscribers receive it."""

    data: Progress

    @classmethod
    def of(cls, progress: Progress, *, source: str) -> Self:
        """The event of one step."""
        return cls(
            id=f"{progress.execution_id}:{progress.attempt}:progress:{microseconds(progress.happened_at)}",
            source=source,
            type=f"{TYPE_PREFIX}.progress.v1",
            subject=progress.execution_id,
            time=progress.happened_at,
            data=progress,
        )

    @property
    def routing_key(self) -> str:
        """``execution.progress.<program_id>``."""
        return f"{PROGRESS_KEYS}{self.data.program_id}"


_PROGRESS_EVENT: TypeAdapter[ProgressEvent] = TypeAdapter(ProgressEvent)


def parse_progress(body: bytes) -> ProgressEvent:
    """The step of a preparation in one record.

    Raises:
        MalformedEvent: it is not a CloudEvent of a preparation, or its envelope and its data disagree.
    """
    try:
        event = _PROGRESS_EVENT.validate_json(body)
    except (ValidationError, ValueError) as error:
        raise MalformedEvent(f"the record is not a progress event: {type(error).__name__}") from error
    if event != ProgressEvent.of(event.data, source=event.source) or not is_execution_id(event.subject):
        raise MalformedEvent("the event's envelope and its data disagree")
    return event
