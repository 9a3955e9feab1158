"""What is known of an execution as the event that told of it. Pure."""

from schemas.events import Ended, ExecutionEvent, OutputChunk, OutputEvent, Queued, Running
from schemas.executions import Execution
from schemas.following import Piece
from schemas.ids import routable_program_id
from schemas.output import StreamSummary
from schemas.status import Status


def status_event(execution: Execution) -> ExecutionEvent:
    """The event of the status that the execution has, as subscribers got it, less output and lines: those are told apart."""
    return ExecutionEvent.of(_fact(execution), source=_source(execution))


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
        )
    ended_at = execution.ended_at
    if execution.status is Status.QUEUED or execution.status is Status.RUNNING or ended_at is None:
        return Queued(
            execution_id=execution_id,
            program_id=program_id,
            attempt=execution.attempt,
            accepted_at=accepted_at,
            submitted_by=submitted_by,
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
