"""Records of the log and of the output as the bus hands them out."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from bus.messages import Message, Position, Record, Source
from schemas.events import (
    CONTENT_TYPE,
    Cleanup,
    CleanupEvent,
    Ended,
    ExecutionEvent,
    OutputChunk,
    OutputEvent,
    Phase,
    Progress,
    ProgressEvent,
    Queued,
    Running,
)
from schemas.output import StreamName, StreamSummary
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
    return Running(execution_id=execution_id, program_id=program, started_at=NOON, runner_id=runner_id, **fields)


def ended(execution_id: str, status: Status = Status.COMPLETED, *, program: str = "prog", **fields: Any) -> Ended:
    """The fact that a program ended, a minute after its start."""
    fields.setdefault("exit_code", 0 if status is Status.COMPLETED else 1)
    if status is Status.FAILED:
        fields.setdefault("reason", Reason.EXIT_CODE)
    ended_at = fields.pop("ended_at", NOON + timedelta(minutes=1))
    return Ended.model_validate(
        {"execution_id": execution_id, "program_id": program, "status": status, "ended_at": ended_at, **fields}
    )


def told(fact: Queued | Running | Ended, *, offset: int = 0, key: str | None = None) -> Record:
    """The record of an event."""
    event = ExecutionEvent.of(fact, source="/runner/r1")
    return report(event.id, event.to_bytes(), offset=offset, key=key or event.routing_key)


def progressed(
    execution_id: str,
    seconds: float = 0,
    *,
    message: str = "Pulling image img",
    percent: int | None = None,
    program: str = "prog",
    key: str | None = None,
) -> Record:
    """The record of a step towards a start, so many seconds after noon."""
    step = Progress(
        execution_id=execution_id,
        program_id=program,
        phase=Phase.PULL,
        message=message,
        percent=percent,
        happened_at=NOON + timedelta(seconds=seconds),
    )
    event = ProgressEvent.of(step, source="/runner/r1")
    return report(event.id, event.to_bytes(), key=key or event.routing_key)


def chunk(
    execution_id: str,
    sequence: int,
    content: bytes,
    *,
    stream: StreamName = StreamName.STDOUT,
    program: str = "prog",
    offset: int = 0,
) -> Record:
    """The record of a piece of output."""
    piece = OutputChunk.of(
        execution_id=execution_id, program_id=program, attempt=1, stream=stream, sequence=sequence, content=content
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
