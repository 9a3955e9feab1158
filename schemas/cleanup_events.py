"""The removal of finished executions, as an event."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.cloud_events import CloudEvent
from schemas.errors import MalformedEvent
from schemas.times import Time

CLEANUP_TYPE = "io.pyexecutorhub.cleanup.v1"
CLEANUP_KEY = "execution.cleanup.hub"


class Cleanup(BaseModel):
    """Somebody asked that the records of everything finished so far be removed. Statistics stay."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    requested_at: Time
    requested_by: str | None = Field(default=None, max_length=256)


class CleanupEvent(CloudEvent):
    """A cleanup in the log, obeyed by every view at its place there."""

    data: Cleanup

    @classmethod
    def of(cls, cleanup: Cleanup, *, cleanup_id: str, source: str) -> Self:
        """The event of one cleanup; ``cleanup_id`` is a UUID of its own."""
        return cls(
            id=cleanup_id,
            source=source,
            type=CLEANUP_TYPE,
            subject=cleanup_id,
            time=cleanup.requested_at,
            data=cleanup,
        )

    @property
    def routing_key(self) -> str:
        """The one key of cleanups; no execution's event has it, as no status is called so."""
        return CLEANUP_KEY


_CLEANUP_EVENT: TypeAdapter[CleanupEvent] = TypeAdapter(CleanupEvent)


def parse_cleanup(body: bytes) -> CleanupEvent:
    """The cleanup in one record.

    Raises:
        MalformedEvent: it is not a CloudEvent of a cleanup.
    """
    try:
        event = _CLEANUP_EVENT.validate_json(body)
    except (ValidationError, ValueError) as error:
        raise MalformedEvent(f"the record is not a cleanup: {type(error).__name__}") from error
    if event != CleanupEvent.of(event.data, cleanup_id=event.id, source=event.source):
        raise MalformedEvent("the cleanup's envelope and its data disagree")
    return event
