"""What is known of an execution as the event that told of it. Pure."""

from schemas.events import AttemptEnded, AttemptEndedEvent, Ended, ExecutionEvent, Queued, Running
from schemas.executions import Execution
from schemas.following import Piece
from schemas.ids import routable_program_id
from schemas.output import StreamSummary
from schemas.output_events import OutputChunk, OutputEvent
from schemas.status import Status


def status_event(execution: Execution) -> ExecutionEvent:
    """The event of the status that the execution has, as subscribers got it, less output and lines: those are told apart."""
    return ExecutionEvent.of(_fact(execution), source=_source(execution))


def attempt_event(execution: Execution, number: int) -> AttemptEndedEvent | None:
    """The event that an earlier attempt ended, less output and lines; ``None`` where nothing is known of it."""
    attempt = next((attempt for attempt in execution.earlier if attempt.number == number), None)
    if attempt is None:
        return None
    fact = AttemptEnded(
        execution_id=execution.execution_id,
        program_id=routable_program_id(execution.program_id),
        attempt=attempt.number,
        status=Status.TIMEOUT if attempt.status is Status.TIMEOUT else Status.FAILED,
        accepted_at=execution.accepted_at,
        submitted_by=execution.submitted_by,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        runner_id=attempt.runner_id,
        exit_code=attempt.exit_code,
        oom_killed=attempt.oom_killed,
        reason=attempt.reason,
        category=attempt.reason and attempt.reason.category,
        message=attempt.message,
        stdout=attempt.stdout,
        stderr=attempt.stderr,
        retry_at=attempt.retry_at,
        max_attempts=attempt.max_attempts,
    )
    return AttemptEndedEvent.of(fact, source=f"/runner/{attempt.runner_id}" if attempt.runner_id else "/hub")


def output_event(execution: Execution, attempt: int, piece: Piece) -> OutputEvent:
    """The event of a piece of its output."""
    chunk = OutputChunk.of(
        execution_id=execution.execution_id,
        program_id=routable_program_id(execution.program_id),
        attempt=attempt,
        stream=piece.stream,
        sequence=piece.sequence,
        content=piece.content,
    )
    return OutputEvent.of(chunk, source=_source(execution))


def _source(execution: Execution) -> str:
    return f"/runner/{execution.runner_id}" if execution.runner_id else "/hub"


def _fact(execution: Execution) -> Queued | Running | Ended:
    execution_id, program_id = execution.execution_id, routable_program_id(execution.program_id)
    accepted_at, submitted_by = execution.accepted_at, execution.submitted_by
    if execution.status is Status.RUNNING and execution.started_at is not None and execution.runner_id is not None:
        return Running(
            execution_id=execution_id,
            program_id=program_id,
            attempt=execution.attempt,
            accepted_at=accepted_at,
            submitted_by=submitted_by,
            started_at=execution.started_at,
            runner_id=execution.runner_id,
            image=execution.image,
            container_id=execution.container_id,
            was_warm=execution.was_warm or False,
        )
    ended_at = execution.ended_at
    if execution.status is Status.QUEUED or execution.status is Status.RUNNING or ended_at is None:
        return Queued(
            execution_id=execution_id,
            program_id=program_id,
            attempt=execution.attempt,
            accepted_at=accepted_at,
            submitted_by=submitted_by,
            retried_at=execution.retried_at,
        )
    return Ended(
        execution_id=execution_id,
        program_id=program_id,
        attempt=execution.attempt,
        status=execution.status,
        accepted_at=accepted_at,
        submitted_by=submitted_by,
        started_at=execution.started_at,
        ended_at=ended_at,
        runner_id=execution.runner_id,
        exit_code=execution.exit_code,
        oom_killed=execution.oom_killed,
        reason=execution.reason,
        category=execution.category,
        message=execution.message,
        stdout=execution.stdout or StreamSummary(),
        stderr=execution.stderr or StreamSummary(),
    )
