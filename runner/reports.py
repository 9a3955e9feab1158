"""What a runner tells of an attempt: from what it knows to the reports that carry it. Pure."""

from datetime import datetime

from runner.claimed import Claimed
from runner.endings import Ending
from runner.identity import Identity
from runner.outgoing import Report
from runner.output import Piece
from schemas.attempts import ending_event
from schemas.events import AttemptEnded, Ended, ExecutionEvent, Running
from schemas.ids import routable_program_id
from schemas.late_result_events import LateResult, LateResultEvent
from schemas.output import StreamSummary
from schemas.output_events import OutputChunk, OutputEvent
from schemas.progress_events import Phase, Progress, ProgressEvent
from schemas.retries import NEVER, Retry


def late_result(identity: Identity, attempt: Claimed | Ended | AttemptEnded, *, happened_at: datetime) -> Report:
    """What became of an attempt whose runner had been given up: its ending, or that it was stopped therefore."""
    ended = None if isinstance(attempt, Claimed) else attempt
    program_id = attempt.program_id
    if isinstance(attempt, Claimed):
        program_id = program_id or routable_program_id(attempt.command.program_id)
    fact = LateResult(
        execution_id=attempt.execution_id,
        program_id=program_id,
        attempt=attempt.attempt,
        runner_id=identity.runner_id,
        outcome=ended and ended.status,
        exit_code=ended and ended.exit_code,
        happened_at=happened_at,
    )
    return Report.of(LateResultEvent.of(fact, source=identity.source))


class Reports:
    """Makes the reports of one attempt. ``program_id`` is the canonical id as far as it is known by then."""

    def __init__(self, claimed: Claimed, identity: Identity) -> None:
        self._claimed = claimed
        self._command = claimed.command
        self._identity = identity

    def running(
        self, program_id: str, *, started_at: datetime, image: str, container_id: str, was_warm: bool = False
    ) -> Report:
        """The program was started."""
        fact = Running(
            execution_id=self._claimed.execution_id,
            program_id=program_id,
            attempt=self._claimed.attempt,
            accepted_at=self._command.accepted_at,
            submitted_by=self._command.submitted_by,
            digest=self._claimed.digest,
            started_at=started_at,
            runner_id=self._identity.runner_id,
            image=image,
            container_id=container_id,
            was_warm=was_warm,
        )
        return Report.of(ExecutionEvent.of(fact, source=self._identity.source))

    def wrote(self, program_id: str, piece: Piece) -> Report:
        """The program wrote something."""
        chunk = OutputChunk.of(
            execution_id=self._claimed.execution_id,
            program_id=program_id,
            attempt=self._claimed.attempt,
            stream=piece.stream,
            sequence=piece.sequence,
            content=piece.content,
        )
        return Report.of(OutputEvent.of(chunk, source=self._identity.source))

    def progress(self, program_id: str, *, phase: Phase, message: str, percent: int | None, happened_at: datetime) -> Report:
        """Its preparation has come so far."""
        step = Progress(
            execution_id=self._claimed.execution_id,
            program_id=program_id,
            attempt=self._claimed.attempt,
            phase=phase,
            message=message,
            percent=percent,
            happened_at=happened_at,
        )
        return Report.of(ProgressEvent.of(step, source=self._identity.source))

    def ended(
        self,
        program_id: str,
        ending: Ending,
        *,
        started_at: datetime | None,
        ended_at: datetime,
        stdout: StreamSummary,
        stderr: StreamSummary,
        lines_before: str | None = None,
        lines_after: str | None = None,
        retry: Retry = NEVER,
        draw: float = 0.0,
    ) -> Report:
        """The attempt ended, and the execution with it, unless ``retry`` has it tried again: see :func:`ending_event`."""
        fact = Ended(
            execution_id=self._claimed.execution_id,
            program_id=program_id,
            attempt=self._claimed.attempt,
            status=ending.status,
            accepted_at=self._command.accepted_at,
            submitted_by=self._command.submitted_by,
            digest=self._claimed.digest,
            started_at=started_at,
            ended_at=ended_at,
            runner_id=self._identity.runner_id,
            exit_code=ending.exit_code,
            oom_killed=ending.oom_killed,
            reason=ending.reason,
            category=ending.reason and ending.reason.category,
            message=ending.message,
            stdout=stdout,
            stderr=stderr,
            lines_before=lines_before,
            lines_after=lines_after,
        )
        return Report.of(ending_event(fact, retry, source=self._identity.source, draw=draw))
