"""Executions as rows of the view, and back."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from schemas.executions import Attempt, Execution
from schemas.output import StreamSummary
from schemas.reasons import Category, Reason
from schemas.status import Status

_FIELDS = (
    "execution_id",
    "program_id",
    "status",
    "attempt",
    "earlier",
    "retry_at",
    "retried_at",
    "output_attempt",
    "pool",
    "parameters",
    "submitted_by",
    "accepted_at",
    "started_at",
    "ended_at",
    "runner_id",
    "image",
    "container_id",
    "was_warm",
    "exit_code",
    "oom_killed",
    "reason",
    "category",
    "message",
    "progress",
    "progress_at",
    "stdout",
    "stderr",
    "digest",
    "reply_to",
    "correlation_id",
)
#: The columns that :func:`execution_of` reads, in its order.
COLUMNS = ", ".join(_FIELDS)

_ATTEMPTS: TypeAdapter[tuple[Attempt, ...]] = TypeAdapter(tuple[Attempt, ...])

# Every name comes from the tuple above.
_UPSERT = f"""
INSERT INTO executions ({COLUMNS}, ended_offset, seen_at) VALUES ({", ".join("?" for _ in _FIELDS)}, ?, ?)
ON CONFLICT (execution_id) DO UPDATE SET
    seen_at = iif(attempt = excluded.attempt AND retried_at IS excluded.retried_at, seen_at, excluded.seen_at),
    {", ".join(f"{name} = excluded.{name}" for name in _FIELDS[1:])},
    ended_offset = coalesce(ended_offset, excluded.ended_offset)
RETURNING sequence
"""  # noqa: S608


def store(connection: sqlite3.Connection, execution: Execution, *, ended_offset: int | None, now: datetime) -> int:
    """Insert or replace the row; its number. ``ended_offset`` is the place in the log of the ending, where this is it.

    ``now`` is when this attempt was first seen here, or seen to be queued after its pause, where that is new.
    """
    row = (
        execution.execution_id,
        execution.program_id,
        execution.status.value,
        execution.attempt,
        _ATTEMPTS.dump_json(execution.earlier, exclude_none=True).decode() if execution.earlier else None,
        text_of(execution.retry_at),
        text_of(execution.retried_at),
        execution.output_attempt,
        execution.pool,
        None if execution.parameters is None else json.dumps(execution.parameters),
        execution.submitted_by,
        text_of(execution.accepted_at),
        text_of(execution.started_at),
        text_of(execution.ended_at),
        execution.runner_id,
        execution.image,
        execution.container_id,
        None if execution.was_warm is None else int(execution.was_warm),
        execution.exit_code,
        int(execution.oom_killed),
        execution.reason,
        execution.category,
        execution.message,
        execution.progress,
        text_of(execution.progress_at),
        execution.stdout.model_dump_json() if execution.stdout else None,
        execution.stderr.model_dump_json() if execution.stderr else None,
        execution.digest,
        execution.reply_to,
        execution.correlation_id,
        ended_offset,
        text_of(now),
    )
    sequence: int = connection.execute(_UPSERT, row).fetchone()[0]
    return sequence


def execution_of(row: Sequence[Any]) -> Execution:
    """The execution that a row of :data:`COLUMNS` holds."""
    values: dict[str, Any] = dict(zip(_FIELDS, row, strict=True))
    values["status"] = Status(values["status"])
    values["oom_killed"] = bool(values["oom_killed"])
    values["was_warm"] = None if values["was_warm"] is None else bool(values["was_warm"])
    for name in ("retry_at", "retried_at", "accepted_at", "started_at", "ended_at", "progress_at"):
        values[name] = time_of(values[name])
    for name, kind in (("reason", Reason), ("category", Category)):
        values[name] = kind(values[name]) if values[name] is not None else None
    for name in ("stdout", "stderr"):
        values[name] = StreamSummary.model_validate_json(values[name]) if values[name] is not None else None
    values["earlier"] = _ATTEMPTS.validate_json(values["earlier"]) if values["earlier"] is not None else ()
    values["parameters"] = json.loads(values["parameters"]) if values["parameters"] is not None else None
    return Execution(**values)


def text_of(moment: datetime | None) -> str | None:
    """A point in time as the view stores it; sorts by time."""
    return None if moment is None else moment.isoformat(timespec="microseconds")


def time_of(text: str | None) -> datetime | None:
    """The point in time that :func:`text_of` stored."""
    return None if text is None else datetime.fromisoformat(text)
