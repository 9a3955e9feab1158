"""What the holder says of attempts: how one ends that its runner can't end itself, and the command of the next one. Pure."""

import random

from bus.messages import Message
from hub.fold import SOURCE
from schemas.attempts import ending_event
from schemas.catalogue import Catalogue
from schemas.cloud_events import CONTENT_TYPE
from schemas.commands import RetryProgram
from schemas.events import AttemptEndedEvent, Ended, ExecutionEvent
from schemas.executions import Execution
from schemas.ids import routable_program_id
from schemas.reasons import Reason
from schemas.status import Status
from schemas.times import utc_now


def ending_of(execution: Execution, ended: Ended, catalogue: Catalogue) -> ExecutionEvent | AttemptEndedEvent:
    """The event to write where the holder knows that the newest attempt of an execution ended so.

    By the retry policy of the program in this catalogue it is the terminal event, or that another attempt follows and when.
    What was asked for must be known for that: without it nobody could run the next one.
    """
    retry = catalogue.retry_of(execution.program_id)
    if execution.parameters is None:
        return ExecutionEvent.of(ended, source=SOURCE)
    return ending_event(ended, retry, source=SOURCE, draw=random.random())


def message_of(event: ExecutionEvent | AttemptEndedEvent) -> Message:
    """The event as it goes into the log, under its own ``routing_key``."""
    return Message(id=event.id, body=event.to_bytes(), content_type=CONTENT_TYPE)


def next_attempt(execution: Execution) -> Message | None:
    """The command of the attempt that an execution waits for; ``None`` where what was asked for is not known."""
    if execution.parameters is None:
        return None
    command = RetryProgram(
        program_id=execution.program_id,
        parameters=execution.parameters,
        submitted_by=execution.submitted_by,
        accepted_at=execution.accepted_at,
        attempt=execution.attempt,
        digest=execution.digest,
        retried_at=utc_now(),
    )
    return Message(id=execution.execution_id, body=command.to_bytes(), timestamp=command.retried_at)


def not_repeatable(execution: Execution) -> ExecutionEvent:
    """The event that an execution has ended because its next attempt can't be asked for."""
    reason = Reason.INTERNAL
    fact = Ended(
        execution_id=execution.execution_id,
        program_id=routable_program_id(execution.program_id),
        attempt=execution.attempt,
        status=Status.FAILED,
        accepted_at=execution.accepted_at,
        submitted_by=execution.submitted_by,
        ended_at=utc_now(),
        reason=reason,
        category=reason.category,
        message="It could not be tried again: what exactly was asked for is not known here.",
    )
    return ExecutionEvent.of(fact, source=SOURCE)
