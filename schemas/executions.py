"""An execution as the fold makes it and the gateway shows it: what is known of one run, without its output."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from schemas.output import Output, StreamSummary
from schemas.reasons import Category, Reason
from schemas.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that another one followed."""

    number: int
    #: How it ended.
    status: Status
    #: ``None`` where its program was never started.
    started_at: datetime | None = None
    ended_at: datetime
    #: When the next one was due, and how many there might be in all.
    retry_at: datetime
    max_attempts: int
    runner_id: str | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    reason: Reason | None = None
    message: str | None = None
    #: Counts and flags of its own output.
    stdout: StreamSummary = field(default_factory=StreamSummary)
    stderr: StreamSummary = field(default_factory=StreamSummary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One run of one program. Times are UTC; what is not known (yet) is ``None``."""

    execution_id: str
    #: The canonical id where a runner has said it; until then as the caller typed it.
    program_id: str
    status: Status
    #: The attempt that all that follows is about, except for what was asked for.
    attempt: int = 1
    #: The attempts before it, in order.
    earlier: tuple[Attempt, ...] = ()
    #: When the next attempt is due, until it was queued …
    retry_at: datetime | None = None
    #: … and when that was.
    retried_at: datetime | None = None
    #: The attempt whose output is the execution's: the newest one whose program was started.
    output_attempt: int = 1
    #: Whose runners shall take it, where one command alone has asked for it.
    pool: str | None = None
    parameters: dict[str, Any] | None = None
    submitted_by: str | None = None
    accepted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    runner_id: str | None = None
    image: str | None = None
    container_id: str | None = None
    #: Whether its container had been made, and waited, before the execution was known; ``None`` until its start was told.
    was_warm: bool | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    reason: Reason | None = None
    category: Category | None = None
    message: str | None = None
    #: How far its preparation has come, for people, while it is queued: ``Pulling image python:3.11-slim (45 %)``.
    progress: str | None = None
    #: When that was told.
    progress_at: datetime | None = None
    #: Counts and flags; the content itself is in the view's output.
    stdout: StreamSummary | None = None
    stderr: StreamSummary | None = None
    #: Of what was asked for (:func:`schemas.commands.digest_of`); ``None`` until a record said it.
    digest: str | None = None
    #: Where the caller wants the terminal event, and the word to send back with it.
    reply_to: str | None = None
    correlation_id: str | None = None

    def as_of(self, number: int) -> "Execution | None":
        """The execution as it would stand had it ended with this earlier attempt; ``None`` where that is not known."""
        attempt = next((attempt for attempt in self.earlier if attempt.number == number), None)
        if attempt is None:
            return None
        return replace(
            self,
            status=attempt.status,
            attempt=number,
            earlier=tuple(earlier for earlier in self.earlier if earlier.number < number),
            retry_at=None,
            output_attempt=number,
            started_at=attempt.started_at,
            ended_at=attempt.ended_at,
            runner_id=attempt.runner_id,
            image=None,
            container_id=None,
            was_warm=None,
            exit_code=attempt.exit_code,
            oom_killed=attempt.oom_killed,
            reason=attempt.reason,
            category=None if attempt.reason is None else attempt.reason.category,
            message=attempt.message,
            progress=None,
            progress_at=None,
            stdout=attempt.stdout,
            stderr=attempt.stderr,
        )


@dataclass(frozen=True, slots=True)
class ToRetry:
    """An execution whose next attempt is to be queued."""

    execution_id: str
    #: The number of that attempt.
    attempt: int
    due_at: datetime
    #: When the attempt before it ended.
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which executions a list shall hold; ``None`` means all."""

    status: Status | None = None
    #: The ids and keys that name one program.
    program_ids: frozenset[str] | None = None
    #: Accepted at this time or later …
    since: datetime | None = None
    #: … and before that one.
    until: datetime | None = None

    def matches(self, execution: Execution) -> bool:
        """Whether this execution is one of them."""
        accepted_at = execution.accepted_at
        return (
            (self.status is None or execution.status is self.status)
            and (self.program_ids is None or execution.program_id in self.program_ids)
            and (self.since is None or (accepted_at is not None and accepted_at >= self.since))
            and (self.until is None or (accepted_at is not None and accepted_at < self.until))
        )


EVERYTHING = Wanted()


@dataclass(frozen=True, slots=True)
class Queued:
    """An execution that waits, as it is looked for by age."""

    execution_id: str
    attempt: int
    #: Where it stands among those that wait in its pool: first by how long, then by number.
    place: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, the newest first."""

    rows: list[tuple[Execution, Output]]
    #: Where the next page begins; ``None`` where this is the last one.
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """How many records of executions are held now."""

    total: int
    #: Of executions that have ended: the only ones that are ever removed.
    finished: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What is known of an execution by its id alone, for a while also after its record was removed."""

    execution_id: str
    status: Status
    digest: str | None = None
    accepted_at: datetime | None = None
    #: Whether the record is gone.
    removed: bool = False


@dataclass(frozen=True, slots=True)
class CleanedUp:
    """What a cleanup did to the view."""

    removed: int
    #: Records that are still there: all that had not ended.
    remaining: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Cumulative counts, per status and canonical program id. Every execution is in exactly one of them."""

    by_status: dict[Status, dict[str, int]]
    #: Executions accepted in the last 24 hours.
    recent: int

    @property
    def total(self) -> int:
        """All executions ever accepted: the sum of all counts."""
        return sum(sum(programs.values()) for programs in self.by_status.values())
