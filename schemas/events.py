"""Events: facts about an execution and its attempts, each a CloudEvent."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError

from schemas.cloud_events import MAX_INT, TYPE_PREFIX, AttemptFact, CloudEvent
from schemas.errors import MalformedEvent
from schemas.ids import is_execution_id
from schemas.output import StreamSummary
from schemas.reasons import Category, Reason
from schemas.status import Status
from schemas.times import Time

#: How the keys of attempts that another one follows begin; no status is called so.
ATTEMPT_ENDED_KEYS = "execution.attempt_ended."
#: Longest text of :attr:`Ended.lines_before` and :attr:`Ended.lines_after`, in characters.
MAX_LINES = 64 * 1024


class Queued(AttemptFact):
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


class Running(AttemptFact):
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
    #: Whether its container had been made, and waited, before the execution was known.
    was_warm: bool = False

    @property
    def happened_at(self) -> datetime:
        """When the program was started."""
        return self.started_at


class _Ending(AttemptFact):
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
    exit_code: int | None = Field(default=None, ge=-MAX_INT, le=MAX_INT)
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
    max_attempts: int = Field(ge=2, le=MAX_INT)


Fact = Annotated[Queued | Running | Ended, Field(discriminator="status")]


class ExecutionEvent(CloudEvent):
    """A change of status, as subscribers receive it."""

    data: Fact

    @classmethod
    def of(cls, fact: Queued | Running | Ended, *, source: str) -> Self:
        """The event of one fact. Its id is the same whoever builds it, so duplicates are recognisable."""
        return cls(
            id=_id_of(fact),
            source=source,
            type=_type_of(fact),
            subject=fact.execution_id,
            time=fact.happened_at,
            data=fact,
        )

    @property
    def routing_key(self) -> str:
        """``execution.<status>.<program_id>``: what subscribers bind."""
        return f"execution.{self.data.status.value}.{self.data.program_id}"


def _id_of(fact: Queued | Running | Ended) -> str:
    rank = "end" if isinstance(fact, Ended) else f"{fact.attempt}:{fact.status.rank}"
    return f"{fact.execution_id}:{rank}"


def _type_of(fact: Queued | Running | Ended) -> str:
    return f"{TYPE_PREFIX}.{fact.status.value}.v1"


class AttemptEndedEvent(CloudEvent):
    """An attempt that another one follows, as subscribers receive it."""

    data: AttemptEnded

    @classmethod
    def of(cls, fact: AttemptEnded, *, source: str) -> Self:
        """The event of one attempt's end. Its id is the same whoever builds it, so duplicates are recognisable."""
        return cls(
            id=f"{fact.execution_id}:{fact.attempt}:attempt_ended",
            source=source,
            type=f"{TYPE_PREFIX}.attempt_ended.v1",
            subject=fact.execution_id,
            time=fact.happened_at,
            data=fact,
        )

    @property
    def routing_key(self) -> str:
        """``execution.attempt_ended.<program_id>``."""
        return f"{ATTEMPT_ENDED_KEYS}{self.data.program_id}"


_EXECUTION_EVENT: TypeAdapter[ExecutionEvent] = TypeAdapter(ExecutionEvent)


_ATTEMPT_ENDED_EVENT: TypeAdapter[AttemptEndedEvent] = TypeAdapter(AttemptEndedEvent)


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
    fact = event.data
    # As ExecutionEvent.of makes it; of the id the pattern has been checked in the data.
    if (event.id, event.type, event.subject, event.time) != (_id_of(fact), _type_of(fact), fact.execution_id, fact.happened_at):
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
