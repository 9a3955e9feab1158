"""How an attempt's end is told: as the execution's, or as one that another attempt follows. Pure."""

from datetime import timedelta

from schemas.events import AttemptEnded, AttemptEndedEvent, Ended, ExecutionEvent
from schemas.retries import Retry


def ending_event(ended: Ended, retry: Retry, *, source: str, draw: float) -> ExecutionEvent | AttemptEndedEvent:
    """The event of an attempt that ended so: the terminal one, or that the next attempt follows and when.

    ``draw``, from 0 to 1, is where in the second half of its pause the next attempt is put.
    """
    if not retry.follows(ended.attempt, ended.status, ended.reason):
        return ExecutionEvent.of(ended, source=source)
    pause = timedelta(seconds=retry.pause_seconds(ended.attempt, draw))
    # What may be asked of it is the same, and what it holds was checked when it was made.
    fact = AttemptEnded.model_validate(
        {**dict(ended), "retry_at": ended.ended_at + pause, "max_attempts": retry.max + 1},
    )
    return AttemptEndedEvent.of(fact, source=source)
