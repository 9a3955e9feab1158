"""What one record of the log says, by its source and key; a body never tells what kind it is."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bus.messages import Record, Source
from bus.topology import RETRY_KEYS
from schemas.cleanup_events import CLEANUP_KEY, parse_cleanup
from schemas.cloud_events import AttemptFact
from schemas.commands import ExecuteProgram, RetryProgram, digest_of, parse_execute, parse_retry
from schemas.errors import MalformedCommand, MalformedEvent
from schemas.events import (
    ATTEMPT_ENDED_KEYS,
    AttemptEnded,
    AttemptEndedEvent,
    Ended,
    ExecutionEvent,
    Running,
    parse_attempt_ended,
    parse_event,
)
from schemas.late_result_events import LATE_RESULT_KEYS, LateResult, LateResultEvent, parse_late_result
from schemas.progress_events import PROGRESS_KEYS, Progress, ProgressEvent, parse_progress


class Skip(StrEnum):
    """Why a record changed nothing. Each is counted; only a duplicate is nothing to wonder about."""

    #: Neither a command nor an event of an execution, by its source and key.
    FOREIGN = "foreign"
    MALFORMED_COMMAND = "malformed_command"
    MALFORMED_EVENT = "malformed_event"
    #: The routing key says something else than the event.
    WRONG_KEY = "wrong_key"
    #: The same command or event as before, or one that came too late to matter.
    DUPLICATE = "duplicate"
    #: Another command under an id that is taken.
    OTHER_COMMAND = "other_command"
    #: Another start of what runs already.
    SECOND_START = "second_start"
    #: Another ending of what has ended.
    SECOND_ENDING = "second_ending"
    #: About an attempt that another one has followed, and not what is known of it.
    EARLIER_ATTEMPT = "earlier_attempt"
    #: Progress, or a late result, of what nobody has asked for, as far as the log was read.
    UNASKED = "unasked"
    #: The execution was removed when the view held too many.
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A command that was accepted."""

    offset: int
    execution_id: str
    #: Whose runners shall take it.
    pool: str
    command: ExecuteProgram
    digest: str
    accepted_at: datetime | None
    reply_to: str | None
    correlation_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfAttempt:
    """An event about an attempt."""

    offset: int
    fact: AttemptFact

    @property
    def execution_id(self) -> str:
        """The execution it is about."""
        return self.fact.execution_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(_OfAttempt):
    """An event that a runner reported."""

    event: ExecutionEvent
    fact: Running | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed(_OfAttempt):
    """A step towards the start of an execution that a runner reported."""

    event: ProgressEvent
    fact: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTold(_OfAttempt):
    """The end of an attempt that another one follows."""

    event: AttemptEndedEvent
    fact: AttemptEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """The command of a further attempt, which the holder has queued."""

    offset: int
    execution_id: str
    command: RetryProgram


@dataclass(frozen=True, slots=True, kw_only=True)
class Late(_OfAttempt):
    """What a runner that had been given up said of an attempt afterwards."""

    event: LateResultEvent
    fact: LateResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """A cleanup: what has ended before this place is to be removed."""

    offset: int
    cleanup_id: str


Entry = Asked | Told | Progressed | AttemptTold | Retried | Late


def understand(record: Record) -> Entry | Cleaned | Skip:
    """What the record says, or why it says nothing."""
    if record.source is Source.REPORTS and record.key == CLEANUP_KEY:
        return _cleaned(record)
    if record.source is Source.COMMANDS and record.key.startswith("execute."):
        return _asked(record)
    if record.source is Source.REPORTS and record.key.startswith(RETRY_KEYS):
        return _retried(record)
    if record.source is Source.REPORTS and record.key.startswith(PROGRESS_KEYS):
        return _progressed(record)
    if record.source is Source.REPORTS and record.key.startswith(ATTEMPT_ENDED_KEYS):
        return _attempt_told(record)
    if record.source is Source.REPORTS and record.key.startswith(LATE_RESULT_KEYS):
        return _late(record)
    if record.source is Source.REPORTS and record.key.startswith("execution."):
        return _told(record)
    return Skip.FOREIGN


def runs(entries: Iterable[Entry | Cleaned]) -> Iterator[list[Entry] | Cleaned]:
    """The same entries in the same order, with those that stand between two cleanups together."""
    run: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Cleaned):
            if run:
                yield run
                run = []
            yield entry
        else:
            run.append(entry)
    if run:
        yield run


def understand_all(records: Iterable[Record]) -> tuple[list[Entry | Cleaned], Counter[Skip]]:
    """What the records say, in order, and how many said nothing."""
    entries: list[Entry | Cleaned] = []
    skipped: Counter[Skip] = Counter()
    for record in records:
        entry = understand(record)
        if isinstance(entry, Skip):
            skipped[entry] += 1
        else:
            entries.append(entry)
    return entries, skipped


def _asked(record: Record) -> Asked | Skip:
    message = record.message
    try:
        execution_id, command = parse_execute(message.id, message.body)
    except MalformedCommand:
        return Skip.MALFORMED_COMMAND
    return Asked(
        offset=record.position.offset,
        execution_id=execution_id,
        pool=record.key.partition(".")[2],
        command=command,
        digest=digest_of(command),
        # A bare publish may still carry AMQP's own timestamp.
        accepted_at=command.accepted_at or message.timestamp,
        reply_to=message.reply_to,
        correlation_id=message.correlation_id,
    )


def _cleaned(record: Record) -> Cleaned | Skip:
    try:
        event = parse_cleanup(record.message.body)
    except MalformedEvent:
        return Skip.MALFORMED_EVENT
    return Cleaned(offset=record.position.offset, cleanup_id=event.id)


def _told(record: Record) -> Told | Skip:
    try:
        event = parse_event(record.message.body)
    except MalformedEvent:
        return Skip.MALFORMED_EVENT
    if event.routing_key != record.key:
        return Skip.WRONG_KEY
    # "Queued" is a fact by the command's own record; nobody reports it.
    if not isinstance(event.data, Running | Ended):
        return Skip.FOREIGN
    return Told(offset=record.position.offset, event=event, fact=event.data)


def _attempt_told(record: Record) -> AttemptTold | Skip:
    try:
        event = parse_attempt_ended(record.message.body)
    except MalformedEvent:
        return Skip.MALFORMED_EVENT
    if event.routing_key != record.key:
        return Skip.WRONG_KEY
    return AttemptTold(offset=record.position.offset, event=event, fact=event.data)


def _retried(record: Record) -> Retried | Skip:
    message = record.message
    try:
        execution_id, command = parse_retry(message.id, message.body)
    except MalformedCommand:
        return Skip.MALFORMED_COMMAND
    return Retried(offset=record.position.offset, execution_id=execution_id, command=command)


def _late(record: Record) -> Late | Skip:
    try:
        event = parse_late_result(record.message.body)
    except MalformedEvent:
        return Skip.MALFORMED_EVENT
    if event.routing_key != record.key:
        return Skip.WRONG_KEY
    return Late(offset=record.position.offset, event=event, fact=event.data)


def _progressed(record: Record) -> Progressed | Skip:
    try:
        event = parse_progress(record.message.body)
    except MalformedEvent:
        return Skip.MALFORMED_EVENT
    if event.routing_key != record.key:
        return Skip.WRONG_KEY
    return Progressed(offset=record.position.offset, event=event, fact=event.data)
