"""Events: facts about an execution, each a CloudEvent 1.0 in structured JSON.

The same bytes travel on the bus, to subscribers and in replies. See https://github.com/cloudevents/spec (version 1.0.2).
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.errors import MalformedEvent
from schemas.ids import ProgramId, is_execution_id
from schemas.output import Encoding, StreamName, StreamSummary, decode_content, encode_content
from schemas.reasons import Category, Reason
from schemas.status import Status
from schemas.times import Time, microseconds

CONTENT_TYPE = "application/cloudevents+json"
_TYPE_PREFIX = "io.pyexecutorhub.execution"
CLEANUP_TYPE = "io.pyexecutorhub.cleanup.v1"
CLEANUP_KEY = "execution.cleanup.hub"
#: How the keys of progress begin; no status is called so.
PROGRESS_KEYS = "execution.progress."
#: How the keys of attempts that another one follows begin; nor is one called so.
ATTEMPT_ENDED_KEYS = "execution.attempt_ended."
#: How the keys of late results begin; nor is one called so.
LATE_RESULT_KEYS = "execution.late_result."

ExecutionId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


#: Longest text of :attr:`Ended.lines_before` and :attr:`Ended.lines_after`, in characters.
MAX_LINES = 64 * 1024
#: Longest :attr:`Progress.message`, in characters.
MAX_PROGRESS = 1_000
#: Largest number in an event: it fits every database and every language's integer.
_MAX_INT = 2**31 - 1


class _Fact(BaseModel):
    # Fields that a later version adds are ignored, so that old subscribers keep working.
    model_config = ConfigDict(frozen=True, extra="ignore")

    execution_id: ExecutionId
    #: The program's canonical id.
    program_id: ProgramId
    #: 1 for the first try.
    attempt: int = Field(default=1, ge=1, le=_MAX_INT)


class Queued(_Fact):
    """The command is durable and waits for a runner."""

    status: Literal[Status.QUEUED] = Status.QUEUED
    accepted_at: Time | None = None
    submitted_by: str | None = None
    #: When a further attempt was queued; ``None`` on the first.
    retried_at: Time | None = None

    @property
    def happened_at(self) -> datetime | None:
        """When the attempt was queued: the first when its command was accepted, where its publisher said so."""
        return self.retried_at or self.accepted_at


class Running(_Fact):
    """The program was started."""

    status: Literal[Status.RUNNING] = Status.RUNNING
    accepted_at: Time | None = None
    submitted_by: str | None = None
    #: Of the command that was run (:func:`schemas.commands.digest_of`): for the fold alone, subscribers don't get it.
    digest: str | None = None
    started_at: Time
    runner_id: str
    image: str | None = None
    container_id: str | None = None

    @property
    def happened_at(self) -> datetime:
        """When the program was started."""
        return self.started_at


class _Ending(_Fact):
    """How an attempt ended."""

    accepted_at: Time | None = None
    submitted_by: str | None = None
    #: Of the command that was run, or would have been: for the fold alone, subscribers don't get it.
    digest: str | None = None
    #: ``None`` where the program was never started.
    started_at: Time | None = None
    ended_at: Time
    runner_id: str | None = None
    #: The program's own exit code; 128 + n where signal n ended it; ``None`` where it was never started.
    exit_code: int | None = Field(default=None, ge=-_MAX_INT, le=_MAX_INT)
    #: Whether the kernel killed a process of the program for want of memory; the exit code is still the program's.
    oom_killed: bool = False
    reason: Reason | None = None
    category: Category | None = None
    #: What the hub has to say to people about this ending, in one or two sentences.
    message: str | None = None
    stdout: StreamSummary = StreamSummary()
    stderr: StreamSummary = StreamSummary()
    #: What was said around the program: lines of the hub, of pip and of the actions, each with its prefix, before it ran …
    lines_before: str | None = Field(default=None, max_length=MAX_LINES)
    #: … and after it had ended.
    lines_after: str | None = Field(default=None, max_length=MAX_LINES)

    @property
    def happened_at(self) -> datetime:
        """When the attempt ended."""
        return self.ended_at


class Ended(_Ending):
    """The one terminal event of an execution. What it says is how its last attempt ended."""

    status: Literal[Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.CANCELLED]


class AttemptEnded(_Ending):
    """An attempt has ended, and the next one follows: the execution is queued again."""

    #: How the attempt ended.
    status: Literal[Status.FAILED, Status.TIMEOUT]
    #: When the next attempt is due.
    retry_at: Time
    #: Attempts that there may be in all.
    max_attempts: int = Field(ge=2, le=_MAX_INT)


class Phase(StrEnum):
    """What keeps a queued execution from running yet, once a runner has taken it."""

    #: Its image is being fetched.
    PULL = "pull"
    #: What its ``requirements.txt`` asks for is being installed.
    INSTALL = "install"
    #: Its Compose file's images are being built.
    BUILD = "build"


class Progress(_Fact):
    """How far the preparation of a queued execution has come. It changes no status."""

    phase: Phase
    #: For people: ``Pulling image python:3.11-slim``.
    message: str = Field(max_length=MAX_PROGRESS)
    percent: int | None = Field(default=None, ge=0, le=100)
    #: Rises from step to step of one attempt, over restarts of its runner too.
    happened_at: Time


class LateResult(_Fact):
    """What became of an attempt that had been given up with its runner. It changes nothing: the execution has ended before."""

    runner_id: str
    #: As what the program ended by itself; ``None`` where it was stopped when its runner learned that it had been given up.
    outcome: Status | None = None
    exit_code: int | None = Field(default=None, ge=-_MAX_INT, le=_MAX_INT)
    #: When the runner learned of it.
    happened_at: Time


Fact = Annotated[Queued | Running | Ended, Field(discriminator="status")]


class OutputChunk(_Fact):
    """A piece of output, at most 64 KiB."""

    stream: StreamName
    #: Number of this chunk within its stream, from 0 and without gaps.
    sequence: int = Field(ge=0, le=_MAX_INT)
    encoding: Encoding
    content: str

    @classmethod
    def of(cls, *, execution_id: str, program_id: str, attempt: int, stream: StreamName, sequence: int, content: bytes) -> Self:
        """The chunk that carries these bytes."""
        encoding, text = encode_content(content)
        return cls(
            execution_id=execution_id,
            program_id=program_id,
            attempt=attempt,
            stream=stream,
            sequence=sequence,
            encoding=encoding,
            content=text,
        )

    def content_bytes(self) -> bytes:
        """The bytes it carries.

        Raises:
            ValueError: the content is not what its encoding says.
        """
        return decode_content(self.encoding, self.content)


class _CloudEvent(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"] = "1.0"
    id: str
    #: Who saw the fact: ``/runner/<id>`` or ``/hub``.
    source: str
    type: str
    #: The execution id.
    subject: str
    time: Time | None = None
    datacontenttype: Literal["application/json"] = "application/json"

    def to_bytes(self) -> bytes:
        """The event as it travels; what is ``None`` is left out."""
        return self.model_dump_json(exclude_none=True).encode()


class ExecutionEvent(_CloudEvent):
    """A change of status, as subscribers receive it."""

    data: Fact

    @classmethod
    def of(cls, fact: Queued | Running | Ended, *, source: str) -> Self:
        """The event of one fact. Its id is the same whoever builds it, so duplicates are recognisable."""
        rank = "end" if isinstance(fact, Ended) else f"{fact.attempt}:{fact.status.rank}"
        return cls(
            id=f"{fact.execution_id}:{rank}",
            source=source,
            type=f"{_TYPE_PREFIX}.{fact.status.value}.v1",
            subject=fact.execution_id,
            time=fact.happened_at,
            data=fact,
        )

    @property
    def routing_key(self) -> str:
        """``execution.<status>.<program_id>``: what subscribers bind."""
        return f"execution.{self.data.status.value}.{self.data.program_id}"


class Cleanup(BaseModel):
    """Somebody asked that the records of everything finished so far be removed. Statistics stay."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    requested_at: Time
    requested_by: str | None = Field(default=None, max_length=256)


class CleanupEvent(_CloudEvent):
    """A cleanup in the log, obeyed by every view at its place there."""

    data: Cleanup

    @classmethod
    def of(cls, cleanup: Cleanup, *, cleanup_id: str, source: str) -> Self:
        """The event of one cleanup; ``cleanup_id`` is a UUID of its own."""
        return cls(
            id=cleanup_id,
            source=source,
            type=CLEANUP_TYPE,
            subject=cleanup_id,
            time=cleanup.requested_at,
            data=cleanup,
        )

    @property
    def routing_key(self) -> str:
        """The one key of cleanups; no execution's event has it, as no status is called so."""
        return CLEANUP_KEY


class ProgressEvent(_CloudEvent):
    """How far a preparation has come, as subscribers receive it."""

    data: Progress

    @classmethod
    def of(cls, progress: Progress, *, source: str) -> Self:
        """The event of one step."""
        return cls(
            id=f"{progress.execution_id}:{progress.attempt}:progress:{microseconds(progress.happened_at)}",
            source=source,
            type=f"{_TYPE_PREFIX}.progress.v1",
            subject=progress.execution_id,
            time=progress.happened_at,
            data=progress,
        )

    @property
    def routing_key(self) -> str:
        """``execution.progress.<program_id>``."""
        return f"{PROGRESS_KEYS}{self.data.program_id}"


class AttemptEndedEvent(_CloudEvent):
    """An attempt that another one follows, as subscribers receive it."""

    data: AttemptEnded

    @classmethod
    def of(cls, fact: AttemptEnded, *, source: str) -> Self:
        """The event of one attempt's end. Its id is the same whoever builds it, so duplicates are recognisable."""
        return cls(
            id=f"{fact.execution_id}:{fact.attempt}:attempt_ended",
            source=source,
            type=f"{_TYPE_PREFIX}.attempt_ended.v1",
            subject=fact.execution_id,
            time=fact.happened_at,
            data=fact,
        )

    @property
    def routing_key(self) -> str:
        """``execution.attempt_ended.<program_id>``."""
        return f"{ATTEMPT_ENDED_KEYS}{self.data.program_id}"


class LateResultEvent(_CloudEvent):
    """What became of an attempt after it had been given up, as subscribers receive it."""

    data: LateResult

    @classmethod
    def of(cls, late: LateResult, *, source: str) -> Self:
        """The event of one late result."""
        return cls(
            id=f"{late.execution_id}:{late.attempt}:late",
            source=source,
            type=f"{_TYPE_PREFIX}.late_result.v1",
            subject=late.execution_id,
            time=late.happened_at,
            data=late,
        )

    @property
    def routing_key(self) -> str:
        """``execution.late_result.<program_id>``."""
        return f"{LATE_RESULT_KEYS}{self.data.program_id}"


class OutputEvent(_CloudEvent):
    """A piece of output, as subscribers receive it."""

    data: OutputChunk

    @classmethod
    def of(cls, chunk: OutputChunk, *, source: str) -> Self:
        """The event of one chunk."""
        return cls(
            id=f"{chunk.execution_id}:{chunk.attempt}:{chunk.stream.value}:{chunk.sequence}",
            source=source,
            type=f"{_TYPE_PREFIX}.output.v1",
            subject=chunk.execution_id,
            data=chunk,
        )

    @property
    def routing_key(self) -> str:
        """``output.<program_id>.<execution_id>``."""
        return f"output.{self.data.program_id}.{self.data.execution_id}"


_EXECUTION_EVENT: TypeAdapter[ExecutionEvent] = TypeAdapter(ExecutionEvent)
_CLEANUP_EVENT: TypeAdapter[CleanupEvent] = TypeAdapter(CleanupEvent)
_PROGRESS_EVENT: TypeAdapter[ProgressEvent] = TypeAdapter(ProgressEvent)
_ATTEMPT_ENDED_EVENT: TypeAdapter[AttemptEndedEvent] = TypeAdapter(AttemptEndedEvent)
_LATE_RESULT_EVENT: TypeAdapter[LateResultEvent] = TypeAdapter(LateResultEvent)
_OUTPUT_EVENT: TypeAdapter[OutputEvent] = TypeAdapter(OutputEvent)


def parse_event(body: bytes) -> ExecutionEvent:
    """The event in one record.

    Raises:
        MalformedEvent: it is not a CloudEvent of an execution's status, or its envelope and its data disagree.
    """
    try:
        event = _EXECUTION_EVENT.validate_json(body)
        for summary in (event.data.stdout, event.data.stderr) if isinstance(event.data, Ended) else ():
            summary.content_bytes()
    except (ValidationError, ValueError) as error:
        raise MalformedEvent(f"the record is not an execution event: {type(error).__name__}") from error
    if event != ExecutionEvent.of(event.data, source=event.source) or not is_execution_id(event.subject):
        raise MalformedEvent("the event's envelope and its data disagree")
    return event


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


def parse_attempt_ended(body: bytes) -> AttemptEndedEvent:
    """The end of an attempt in one record.

    Raises:
        MalformedEvent: it is not a CloudEvent of an attempt's end, or its envelope and its data disagree.
    """
    try:
        event = _ATTEMPT_ENDED_EVENT.validate_json(body)
        for summary in (event.data.stdout, event.data.stderr):
            summary.content_bytes()
    except (ValidationError, ValueError) as error:
        raise MalformedEvent(f"the record is not the end of an attempt: {type(error).__name__}") from error
    if event != AttemptEndedEvent.of(event.data, source=event.source) or not is_execution_id(event.subject):
        raise MalformedEvent("the event's envelope and its data disagree")
    return event


def parse_late_result(body: bytes) -> LateResultEvent:
    """The late result in one record.

    Raises:
        MalformedEvent: it is not a CloudEvent of a late result, or its envelope and its data disagree.
    """
    try:
        event = _LATE_RESULT_EVENT.validate_json(body)
    except (ValidationError, ValueError) as error:
        raise MalformedEvent(f"the record is not a late result: {type(error).__name__}") from error
    if event != LateResultEvent.of(event.data, source=event.source) or not is_execution_id(event.subject):
        raise MalformedEvent("the event's envelope and its data disagree")
    return event


def parse_cleanup(body: bytes) -> CleanupEvent:
    """The cleanup in one record.

    Raises:
        MalformedEvent: it is not a CloudEvent of a cleanup.
    """
    try:
        event = _CLEANUP_EVENT.validate_json(body)
    except (ValidationError, ValueError) as error:
        raise MalformedEvent(f"the record is not a cleanup: {type(error).__name__}") from error
    if event != CleanupEvent.of(event.data, cleanup_id=event.id, source=event.source):
        raise MalformedEvent("the cleanup's envelope and its data disagree")
    return event


def parse_output(body: bytes) -> OutputEvent:
    """The chunk in one record.

    Raises:
        MalformedEvent: it is not a CloudEvent of a piece of output.
    """
    try:
        event = _OUTPUT_EVENT.validate_json(body)
        event.data.content_bytes()
    except (ValidationError, ValueError) as error:
        raise MalformedEvent(f"the record is not an output event: {type(error).__name__}") from error
    return event
