"""What became of an attempt whose runner had been given up, as an event."""

from typing import Self

from pydantic import Field, TypeAdapter, ValidationError

from schemas.cloud_events import MAX_INT, TYPE_PREFIX, AttemptFact, CloudEvent
from schemas.errors import MalformedEvent
from schemas.ids import is_execution_id
from schemas.status import Status
from schemas.times import Time

#: How the keys of late results begin; no status is called so.
LATE_RESULT_KEYS = "execution.late_result."


class LateResult(AttemptFact):
    """What became of an attempt that had been given up with its runner. It changes nothing: the execution has ended before."""

    runner_id: str
    #: As what the program ended by itself; ``None`` where it was stopped when its runner learned that it had been given up.
    outcome: Status | None = None
    exit_code: int | None = Field(default=None, ge=-MAX_INT, le=MAX_INT)
    #: When the runner learned of it.
    happened_at: Time


class LateResultEvent(CloudEvent):
    """What became of an attempt after it had been given up, as subscribers receive it."""

    data: LateResult

    @classmethod
    def of(cls, late: LateResult, *, source: str) -> Self:
        """The event of one late result."""
        return cls(
            id=f"{late.execution_id}:{late.attempt}:late",
            source=source,
            type=f"{TYPE_PREFIX}.late_result.v1",
            subject=late.execution_id,
            time=late.happened_at,
            data=late,
        )

    @property
    def routing_key(self) -> str:
        """``execution.late_result.<program_id>``."""
        return f"{LATE_RESULT_KEYS}{self.data.program_id}"


_LATE_RESULT_EVENT: TypeAdapter[LateResultEvent] = TypeAdapter(LateResultEvent)


def parse_late_result(body: bytes) -> LateResultEvent:
    """The late result in one record.

    Raises:
        MalformedEvent: it is not a CloudEvent of a late result, or its envelope and its data disagree.
    """
    try:
        event = _LATE_RESULT_EVENT.validate_json(body)
    except (ValidationError, ValueError) as error:
        raise MalformedEvent(f"the record is not a late result: {type(error).__name__}") from error
    if event != LateResultEvent.of(event.data, source=event.source) or not is_execution_id(event.subject):
        raise MalformedEvent("the event's envelope and its data disagree")
    return event
