"""Executions as HTTP shows them: the seed's keys, and what was added to them. Pure."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from schemas.executions import Attempt, Execution, Held, Statistics
from schemas.output import Output, encode_content
from schemas.status import Status

#: The lists of the statistics, in the seed's order.
_STATISTICS = (Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.RUNNING, Status.QUEUED, Status.CANCELLED)


def record_of(execution: Execution, output: Output) -> dict[str, Any]:
    """The record of one execution. ``output`` and ``error`` are ``None`` until it has ended."""
    return {
        "execution_id": execution.execution_id,
        "program_id": execution.program_id,
        "status": execution.status.value,
        "start_time": _time(execution.started_at),
        "end_time": _time(execution.ended_at),
        **_texts(execution, output),
        "output_truncated": output.stdout_truncated,
        "error_truncated": output.stderr_truncated,
        "output_complete": output.complete,
        "exit_code": execution.exit_code,
        "reason": execution.reason,
        "category": execution.category,
        "queued_time": _time(execution.accepted_at),
        "submitted_by": execution.submitted_by,
        "runner_id": execution.runner_id,
        "was_warm": execution.was_warm,
        "attempt": execution.attempt,
        "attempts": [_attempt(attempt) for attempt in execution.earlier],
        "retry_time": _time(execution.retry_at),
        "progress": execution.progress,
    }


def logs_of(execution: Execution, output: Output, *, now: datetime) -> dict[str, Any]:
    """What ``/executions/{id}/logs`` shows: the output with the lines of the hub, of pip and of the actions around it."""
    output = replace(output, stdout=_with_lines(output))
    return {
        "execution_id": execution.execution_id,
        "program_id": execution.program_id,
        "status": execution.status.value,
        "start_time": _time(execution.started_at),
        "end_time": _time(execution.ended_at),
        "duration_seconds": duration_seconds(execution, now=now),
        **_texts(execution, output),
        "output_lines": _lines(output.stdout) if execution.status.is_terminal else 0,
        "error_lines": _lines(_error(execution, output)) if execution.status.is_terminal else 0,
    }


def statistics_of(statistics: Statistics, *, max_executions: int) -> dict[str, Any]:
    """What ``/executions/stats`` shows: the sums of the lists are the total."""
    return {
        "total": statistics.total,
        "by_status": {status.value: _ranking(statistics.by_status.get(status, {})) for status in _STATISTICS},
        "recent_executions": statistics.recent,
        "max_executions": max_executions,
        "concurrent_executions": sum(statistics.by_status.get(Status.RUNNING, {}).values()),
    }


def info_of(held: Held, *, max_executions: int) -> dict[str, Any]:
    """What ``/executions/info`` shows. Only finished executions take one of the slots: the others are never removed."""
    return {
        "total_executions": held.total,
        "max_executions": max_executions,
        "available_slots": max(0, max_executions - held.finished),
        "storage_type": "sqlite",
        "cleanup_enabled": True,
    }


def concurrent_of(running: list[Execution], *, max_concurrent: int, now: datetime) -> dict[str, Any]:
    """What ``/executions/concurrent`` shows."""
    return {
        "concurrent_count": len(running),
        "max_concurrent": max_concurrent,
        "running_executions": [
            {
                "execution_id": execution.execution_id,
                "program_id": execution.program_id,
                "start_time": _time(execution.started_at),
                "duration_seconds": duration_seconds(execution, now=now),
            }
            for execution in running
        ],
    }


def duration_seconds(execution: Execution, *, now: datetime) -> float | None:
    """Seconds the program ran, so far or in all; ``None`` where it was not started (yet)."""
    if execution.started_at is None:
        return None
    seconds = ((execution.ended_at or now) - execution.started_at).total_seconds()
    # The clocks of two hosts may differ; a duration is never negative all the same.
    return max(0.0, round(seconds, 3))


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.number,
        "status": attempt.status.value,
        "start_time": _time(attempt.started_at),
        "end_time": _time(attempt.ended_at),
        "exit_code": attempt.exit_code,
        "reason": attempt.reason,
        "message": attempt.message,
        "runner_id": attempt.runner_id,
    }


def _texts(execution: Execution, output: Output) -> dict[str, str | None]:
    if not execution.status.is_terminal:
        return {"output": None, "error": None, "output_encoding": None, "error_encoding": None}
    output_encoding, text = encode_content(output.stdout)
    error_encoding, error = encode_content(_error(execution, output))
    return {"output": text, "error": error, "output_encoding": output_encoding, "error_encoding": error_encoding}


def _with_lines(output: Output) -> bytes:
    # What follows begins on a line of its own.
    separator = b"\n" if output.after and output.stdout and not output.stdout.endswith(b"\n") else b""
    return output.before + output.stdout + separator + output.after


def _error(execution: Execution, output: Output) -> bytes:
    if not execution.message:
        return output.stderr
    separator = b"\n" if output.stderr and not output.stderr.endswith(b"\n") else b""
    return output.stderr + separator + execution.message.encode()


def _lines(content: bytes) -> int:
    unfinished = bool(content) and not content.endswith(b"\n")
    return content.count(b"\n") + unfinished


def _ranking(programs: dict[str, int]) -> list[dict[str, Any]]:
    ranked = sorted(programs.items(), key=lambda program: (-program[1], program[0]))
    return [{"total": total, "name": name} for name, total in ranked if total]


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
