"""Records of the log and of the output as the bus hands them out."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from bus.messages import Message, Position, Record, Source
from schemas.cleanup_events import Cleanup, CleanupEvent
from schemas.cloud_events import CONTENT_TYPE
from schemas.events import AttemptEnded, AttemptEndedEvent, Ended, ExecutionEvent, Queued, Running
from schemas.late_result_events import LateResult, LateResultEvent
from schemas.output import StreamName, StreamSummary
from schemas.output_events import OutputChunk, OutputEvent
from schemas.progress_events import Phase, Progress, ProgressEvent
from schemas.reasons import Reason
from schemas.status import Status

#: When everything here happens, unless told otherwise.
NOON = datetime(2024, 1, 2, 12, 0, tzinfo=UTC)


def uid(number: int) -> str:
    """The execution id of this number."""
    return str(UUID(int=number))


def asked(execution_id: str, *, program: str = "prog", offset: int = 0, **fields: Any) -> Record:
    """The record of a command. ``body`` replaces the body, other fields are the command's or the message's."""
    message = {name: fields.pop(name) for name in ("reply_to", "correlation_id", "timestamp") if name in fields}
    key = fields.pop("key", "execute.default")
    body = fields.pop("body", None) or json.dumps({"program_id": program, **fields}).encode()
    return Record(
        position=Position(offset, execution_id),
        source=Source.COMMANDS,
        key=key,
        message=Message(id=execution_id, body=body, **message),
    )


def running(execution_id: str, *, program: str = "prog", runner_id: str = "r1", **fields: Any) -> Running:
    """The fact that a program was started."""
    fields.setdefault("started_at", NOON)
    return Running(execution_id=execution_id, program_id=program, runner_id=runner_id, **fields)


def ended(execution_id: str, status: Status = Status.COMPLETED, *, program: str = "prog", **fields: Any) -> Ended:
    """The fact that a program ended, a minute after its start."""
    fields.setdefault("exit_code", 0 if status is Status.COMPLETED else 1)
    if status is Status.FAILED:
        fields.setdefault("reason", Reason.EXIT_CODE)
    ended_at = fields.pop("ended_at", NOON + timedelta(minutes=1))
    return Ended.model_validate(
        {"execution_id": execution_id, "program_id": program, "status": status, "ended_at": ended_at, **fields}
    )


def attempt_ended(execution_id: str, attempt: int = 1, status: Status = Status.FAILED, **fields: Any) -> AttemptEnded:
    """The fact that an attempt ended, a minute after its start, and that the next one is due a minute later."""
    fields.setdefault("exit_code", 1)
    fields.setdefault("reason", Reason.EXIT_CODE if status is Status.FAILED else Reason.TIMEOUT)
    start = NOON + timedelta(minutes=10 * (attempt - 1))
    times = {"started_at": start, "ended_at": start + timedelta(minutes=1), "retry_at": start + timedelta(minutes=2)}
    said = {"execution_id": execution_id, "program_id": "prog", "attempt": attempt, "status": status, "max_attempts": 4}
    return AttemptEnded.model_validate(said | times | {"runner_id": "r1"} | fields)


def retried(execution_id: str, attempt: int = 2, **fields: Any) -> Record:
    """The record of the command of a further attempt."""
    body = json.dumps({"program_id": "prog", "attempt": attempt, **fields}).encode()
    return Record(
        position=Position(0, execution_id),
        source=Source.REPORTS,
        key="retry.default",
        message=Message(id=execution_id, body=body),
    )


def told(fact: Queued | Running | Ended | AttemptEnded, *, offset: int = 0, key: str | None = None) -> Record:
    """The record of an event."""
    event: ExecutionEvent | AttemptEndedEvent
    if isinstance(fact, AttemptEnded):
        event = AttemptEndedEvent.of(fact, source="/runner/r1")
    else:
        event = ExecutionEvent.of(fact, source="/runner/r1")
    return report(event.id, event.to_bytes(), offset=offset, key=key or event.routing_key)


def progressed(
    execution_id: str,
    seconds: float = 0,
    *,
    message: str = "Pulling image img",
    percent: int | None = None,
    program: str = "prog",
    attempt: int = 1,
    key: str | None = None,
) -> Record:
    """The record of a step towards a start, so many seconds after noon."""
    step = Progress(
        execution_id=execution_id,
        program_id=program,
        attempt=attempt,
        phase=Phase.PULL,
        message=message,
        percent=percent,
        happened_at=NOON + timedelta(seconds=seconds),
    )
    event = ProgressEvent.of(step, source="/runner/r1")
    return report(event.id, event.to_bytes(), key=key or event.routing_key)


def late(execution_id: str, *, program: str = "prog", attempt: int = 1, key: str | None = None, **fields: Any) -> Record:
    """The record of what a runner that had been given up said afterwards."""
    fact = LateResult(
        **{"execution_id": execution_id, "program_id": program, "attempt": attempt, "runner_id": "r1", "happened_at": NOON}
        | fields
    )
    event = LateResultEvent.of(fact, source="/runner/r1")
    return report(event.id, event.to_bytes(), key=key or event.routing_key)


def chunk(
    execution_id: str,
    sequence: int,
    content: bytes,
    *,
    stream: StreamName = StreamName.STDOUT,
    program: str = "prog",
    attempt: int = 1,
    offset: int = 0,
) -> Record:
    """The record of a piece of output."""
    piece = OutputChunk.of(
        execution_id=execution_id, program_id=program, attempt=attempt, stream=stream, sequence=sequence, content=content
    )
    event = OutputEvent.of(piece, source="/runner/r1")
    return report(event.id, event.to_bytes(), offset=offset, key=event.routing_key)


def cleanup(number: int = 99) -> Record:
    """The record of a cleanup."""
    event = CleanupEvent.of(Cleanup(requested_at=NOON, requested_by="ada"), cleanup_id=uid(number), source="/hub")
    return report(event.id, event.to_bytes(), key=event.routing_key)


def in_chunks(size: int, chunks: int) -> StreamSummary:
    """The summary of a stream whose content is in chunks."""
    return StreamSummary(total_bytes=size, kept_bytes=size, chunks=chunks)


def report(message_id: str | None, body: bytes, *, key: str, offset: int = 0) -> Record:
    """Any record of a report."""
    return Record(
        position=Position(offset, message_id),
        source=Source.REPORTS,
        key=key,
        message=Message(id=message_id, body=body, content_type=CONTENT_TYPE),
    )


def numbered(*records: Record, start: int = 0) -> list[Record]:
    """The same records, at consecutive offsets."""
    return [
        Record(
            position=Position(offset, record.position.message_id),
            source=record.source,
            key=record.key,
            message=record.message,
        )
        for offset, record in enumerate(records, start)
    ]
