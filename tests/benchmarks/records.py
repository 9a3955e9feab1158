"""Records of a log as executions leave them, for whatever reads one."""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count

from bus.messages import Message, Position, Record, Source
from schemas.cloud_events import CONTENT_TYPE
from schemas.commands import ExecuteProgram
from schemas.events import Ended, ExecutionEvent, Running
from schemas.output import StreamSummary
from schemas.status import Status
from schemas.times import utc_now

_SOURCE, _PROGRAM = "/bench", "example"


def lives(executions: int) -> list[Record]:
    """The command, the start and the end of so many executions; sixteen of them are under way at a time."""
    now, numbers, under_way = utc_now(), count(), 16
    records: list[Record] = []
    for begin in range(0, executions, under_way):
        ids = [str(uuid.uuid4()) for _ in range(min(under_way, executions - begin))]
        bodies = [_life(execution_id, now + timedelta(milliseconds=begin)) for execution_id in ids]
        for step in zip(*bodies, strict=True):
            for source, key, message in step:
                position = Position(next(numbers), message.id or "")
                records.append(Record(position=position, source=source, key=key, message=message))
    return records


def _life(execution_id: str, at: datetime) -> Iterator[tuple[Source, str, Message]]:
    command = ExecuteProgram(program_id=_PROGRAM, parameters={"name": "somebody"}, submitted_by="bench", accepted_at=at)
    yield Source.COMMANDS, "execute.default", Message(id=execution_id, body=command.to_bytes(), timestamp=at)
    facts = (
        Running(
            execution_id=execution_id,
            program_id=_PROGRAM,
            attempt=1,
            accepted_at=at,
            started_at=at,
            runner_id="bench",
            container_id=execution_id,
        ),
        Ended(
            execution_id=execution_id,
            program_id=_PROGRAM,
            attempt=1,
            accepted_at=at,
            started_at=at,
            ended_at=at,
            runner_id="bench",
            status=Status.COMPLETED,
            exit_code=0,
            stdout=StreamSummary(),
            stderr=StreamSummary(),
        ),
    )
    for fact in facts:
        event = ExecutionEvent.of(fact, source=_SOURCE)
        message = Message(id=event.id, body=event.to_bytes(), content_type=CONTENT_TYPE)
        yield Source.REPORTS, event.routing_key, message
