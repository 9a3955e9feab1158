"""The fold: what the records of the log make of the executions. Pure: no clock, no settings, no output, the same for everybody.

A status only moves forward and the first ending wins, whatever is repeated, late or contradictory. Where an attempt ends and
another one follows, the execution is queued again: forward is then the next attempt, and what is told of an earlier one changes
nothing any more. All that the fold must remember is in the rows, so a log may be cut into batches anywhere.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hub.log_entries import Asked, AttemptTold, Entry, Late, Progressed, Retried, Skip, Told
from schemas.events import AttemptEnded, AttemptEndedEvent, Ended, ExecutionEvent, Queued, Running
from schemas.executions import Attempt, Execution
from schemas.ids import routable_program_id
from schemas.late_result_events import LateResultEvent
from schemas.output import StreamSummary
from schemas.progress_events import Progress, ProgressEvent
from schemas.status import Status

#: Who says that an execution is queued.
SOURCE = "/hub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One accepted change of status, end of an attempt, step towards a start, or late result, to be announced."""

    #: Place in the log of the record that caused it; a record causes one transition at most.
    offset: int
    execution_id: str
    event: ExecutionEvent | ProgressEvent | AttemptEndedEvent | LateResultEvent
    #: The status before; ``None`` where the execution was not known before.
    previous: Status | None
    #: Where the caller wants the terminal event; ``None`` on every other one.
    reply_to: str | None = None
    correlation_id: str | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the execution ended with it."""
        return isinstance(self.event.data, Ended)


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch came to."""

    #: The rows that changed, in the order in which the log named them first.
    rows: dict[str, Execution] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    skipped: Counter[Skip] = field(default_factory=Counter)


def fold(rows: Mapping[str, Execution], entries: Iterable[Entry]) -> Folded:
    """Apply a batch to the rows of the executions it names; an id without a row is a new execution."""
    folded = Folded()
    for entry in entries:
        before = folded.rows.get(entry.execution_id) or rows.get(entry.execution_id)
        after = _apply(before, entry)
        if isinstance(after, Skip):
            folded.skipped[after] += 1
            continue
        folded.rows[entry.execution_id] = after
        # A command that comes late fills its columns: that is no news.
        if before is None or not isinstance(entry, Asked):
            folded.transitions.append(_transition(entry, before, after))
    return folded


def _apply(before: Execution | None, entry: Entry) -> Execution | Skip:
    match entry:
        case Asked():
            return _ask(before, entry)
        case Told():
            return _tell(before, entry)
        case Progressed(fact=fact):
            return _progress(before, fact)
        case AttemptTold(fact=fact):
            return _tell_attempt(before, fact)
        case Retried():
            return _retry(before, entry)
        case Late():
            # The execution has ended without it, or will: no status comes of it.
            return Skip.UNASKED if before is None else before


def _ask(before: Execution | None, asked: Asked) -> Execution | Skip:
    if before is not None and before.digest not in (None, asked.digest):
        return Skip.OTHER_COMMAND
    # Without parameters, only a report has named it so far.
    if before is not None and before.parameters is not None:
        # Where it was sent to two pools, nobody can say in which of them it waits.
        return Skip.DUPLICATE if before.pool in (None, asked.pool) else replace(before, pool=None)
    command = asked.command
    if before is None:
        return Execution(
            execution_id=asked.execution_id,
            program_id=command.program_id,
            status=Status.QUEUED,
            pool=asked.pool,
            parameters=command.parameters,
            submitted_by=command.submitted_by,
            accepted_at=asked.accepted_at,
            digest=asked.digest,
            reply_to=asked.reply_to,
            correlation_id=asked.correlation_id,
        )
    # Where a report overtook its command, the command still says what was asked and by whom, but no longer where it stands.
    return replace(
        before,
        pool=asked.pool,
        parameters=command.parameters,
        submitted_by=command.submitted_by or before.submitted_by,
        accepted_at=asked.accepted_at or before.accepted_at,
        digest=asked.digest,
        reply_to=asked.reply_to,
        correlation_id=asked.correlation_id,
    )


def _tell(before: Execution | None, told: Told) -> Execution | Skip:
    fact = told.fact
    row = before or _new(fact)
    if row.status.is_terminal or fact.attempt == row.attempt:
        after = _started(row, fact) if isinstance(fact, Running) else _ended(row, fact)
        if row.status.may_become(fact.status):
            return after
        if row.status.rank > fact.status.rank or row == after:
            return Skip.DUPLICATE
        return Skip.SECOND_ENDING if isinstance(fact, Ended) else Skip.SECOND_START
    if fact.attempt < row.attempt:
        return _of_earlier(row, fact)
    # The end of the attempt before it is missing: the log does not reach back so far.
    row = _at_attempt(row, fact.attempt)
    return _started(row, fact) if isinstance(fact, Running) else _ended(row, fact)


def _tell_attempt(before: Execution | None, fact: AttemptEnded) -> Execution | Skip:
    row = before or _new(fact)
    if row.status.is_terminal:
        # Told again after all that followed it, or a second ending of the attempt that was the last.
        return Skip.SECOND_ENDING if fact.attempt >= row.attempt else _of_earlier(row, fact)
    if fact.attempt < row.attempt:
        return _of_earlier(row, fact)
    row = replace(row, **_output_of(row, fact))
    ended = Attempt(
        number=fact.attempt,
        status=fact.status,
        started_at=fact.started_at or (row.started_at if fact.attempt == row.attempt else None),
        ended_at=fact.ended_at,
        retry_at=fact.retry_at,
        max_attempts=fact.max_attempts,
        runner_id=fact.runner_id or (row.runner_id if fact.attempt == row.attempt else None),
        exit_code=fact.exit_code,
        oom_killed=fact.oom_killed,
        reason=fact.reason,
        message=fact.message,
        stdout=_without_content(fact.stdout),
        stderr=_without_content(fact.stderr),
    )
    return replace(
        _at_attempt(_of_command(row, fact.digest), fact.attempt + 1),
        program_id=fact.program_id,
        submitted_by=row.submitted_by or fact.submitted_by,
        accepted_at=row.accepted_at or fact.accepted_at,
        earlier=(*row.earlier, ended),
        retry_at=fact.retry_at,
        progress=f"Attempt {fact.attempt} of {fact.max_attempts} ended: {fact.status.value}. The next one is due at "
        f"{fact.retry_at.isoformat(timespec='seconds')}",
    )


def _retry(before: Execution | None, retried: Retried) -> Execution | Skip:
    command = retried.command
    if before is None:
        return Skip.UNASKED
    # It may be published twice, and the attempt may have begun by the first.
    if before.attempt != command.attempt or before.retry_at is None:
        return Skip.DUPLICATE
    return replace(before, retry_at=None, retried_at=command.retried_at, progress=None)


def _new(fact: Running | Ended | AttemptEnded) -> Execution:
    return Execution(execution_id=fact.execution_id, program_id=fact.program_id, status=Status.QUEUED)


def _at_attempt(row: Execution, attempt: int) -> Execution:
    """The row, queued for an attempt that nothing is known of yet."""
    return replace(
        row,
        status=Status.QUEUED,
        attempt=attempt,
        retry_at=None,
        retried_at=None,
        started_at=None,
        ended_at=None,
        runner_id=None,
        image=None,
        container_id=None,
        was_warm=None,
        exit_code=None,
        oom_killed=False,
        reason=None,
        category=None,
        message=None,
        progress=None,
        progress_at=None,
    )


def _of_earlier(row: Execution, fact: Running | Ended | AttemptEnded) -> Skip:
    """What it is to hear of an attempt that another one has followed."""
    known = next((attempt for attempt in row.earlier if attempt.number == fact.attempt), None)
    match fact:
        case Running():
            is_known = known is not None and known.started_at == fact.started_at
        case AttemptEnded():
            is_known = known is not None and (known.status, known.ended_at) == (fact.status, fact.ended_at)
        case Ended():
            is_known = False
    return Skip.DUPLICATE if is_known else Skip.EARLIER_ATTEMPT


def _progress(before: Execution | None, fact: Progress) -> Execution | Skip:
    if before is None:
        return Skip.UNASKED
    # Only forward here too: what has started is prepared no more, and an earlier step is no news.
    if before.status is not Status.QUEUED or fact.attempt < before.attempt:
        return Skip.DUPLICATE
    row = before if fact.attempt == before.attempt else _at_attempt(before, fact.attempt)
    if row.progress_at is not None and fact.happened_at <= row.progress_at:
        return Skip.DUPLICATE
    return replace(
        row,
        retry_at=None,
        program_id=fact.program_id,
        attempt=fact.attempt,
        progress=fact.message if fact.percent is None else f"{fact.message} ({fact.percent} %)",
        progress_at=fact.happened_at,
    )


def _of_command(row: Execution, digest: str | None) -> Execution:
    """The row of the command that was run.

    Where two were published under one id, the work queue may have had them in another order than the log: the runner's word
    counts, and what the other one asked for is no longer said of this execution.
    """
    if digest is None or digest == row.digest:
        return row
    return replace(row, digest=digest, parameters=None)


def _started(row: Execution, fact: Running) -> Execution:
    return replace(
        _of_command(row, fact.digest),
        program_id=fact.program_id,
        status=fact.status,
        attempt=fact.attempt,
        submitted_by=row.submitted_by or fact.submitted_by,
        accepted_at=row.accepted_at or fact.accepted_at,
        started_at=fact.started_at,
        runner_id=fact.runner_id,
        image=fact.image,
        container_id=fact.container_id,
        was_warm=fact.was_warm,
        output_attempt=fact.attempt,
        stdout=None,
        stderr=None,
        retry_at=None,
        progress=None,
        progress_at=None,
    )


def _ended(row: Execution, fact: Ended) -> Execution:
    return replace(
        _of_command(row, fact.digest),
        **_output_of(row, fact),
        program_id=fact.program_id,
        status=fact.status,
        attempt=fact.attempt,
        submitted_by=row.submitted_by or fact.submitted_by,
        accepted_at=row.accepted_at or fact.accepted_at,
        started_at=fact.started_at or row.started_at,
        ended_at=fact.ended_at,
        runner_id=fact.runner_id or row.runner_id,
        exit_code=fact.exit_code,
        oom_killed=fact.oom_killed,
        reason=fact.reason,
        category=fact.category,
        message=fact.message,
        retry_at=None,
        progress=None,
        progress_at=None,
    )


def _output_of(row: Execution, fact: Ended | AttemptEnded) -> dict[str, Any]:
    """What changes with the output of this attempt; where its program was never started, that of an earlier one stays."""
    if fact.attempt > 1 and fact.started_at is None and row.output_attempt < fact.attempt:
        return {}
    return {
        "output_attempt": fact.attempt,
        "stdout": _without_content(fact.stdout),
        "stderr": _without_content(fact.stderr),
    }


def _without_content(summary: StreamSummary) -> StreamSummary:
    return summary if summary.content is None else summary.model_copy(update={"content": None})


def _transition(entry: Entry, before: Execution | None, after: Execution) -> Transition:
    ended = after.status.is_terminal and not isinstance(entry, Late)
    return Transition(
        offset=entry.offset,
        execution_id=entry.execution_id,
        event=_event(entry, after),
        previous=before.status if before else None,
        reply_to=after.reply_to if ended else None,
        correlation_id=after.correlation_id if ended else None,
    )


def _event(entry: Entry, after: Execution) -> ExecutionEvent | ProgressEvent | AttemptEndedEvent | LateResultEvent:
    match entry:
        case Asked() | Retried():
            return _queued_event(after)
        # By it, short parameters could be guessed: that is nothing for subscribers.
        case Told(event=event, fact=fact) if fact.digest is not None:
            return event.model_copy(update={"data": fact.model_copy(update={"digest": None})})
        case AttemptTold(event=ending, fact=end) if end.digest is not None:
            return ending.model_copy(update={"data": end.model_copy(update={"digest": None})})
        case Told() | Progressed() | AttemptTold() | Late():
            return entry.event


def _queued_event(row: Execution) -> ExecutionEvent:
    fact = Queued(
        execution_id=row.execution_id,
        program_id=routable_program_id(row.program_id),
        attempt=row.attempt,
        accepted_at=row.accepted_at,
        submitted_by=row.submitted_by,
        retried_at=row.retried_at,
    )
    return ExecutionEvent.of(fact, source=SOURCE)
