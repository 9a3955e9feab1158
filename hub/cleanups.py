"""Cleanups: written into the log, where every view comes by; whoever asked for one hears what it did to the view here."""

from collections.abc import Mapping
from uuid import uuid4

from bus.messages import Message, StreamName
from bus.ports import Streams
from hub.fold import SOURCE
from hub.read_back import LIMIT_SECONDS, ReadBack
from schemas.cleanup_events import Cleanup, CleanupEvent
from schemas.cloud_events import CONTENT_TYPE
from schemas.executions import CleanedUp
from schemas.times import utc_now


class Cleanups:
    """Asks for cleanups, and is told by the projector."""

    def __init__(self, streams: Streams, *, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._written: ReadBack[CleanedUp] = ReadBack(streams, limit_seconds=limit_seconds)

    async def clean_up(self, *, requested_by: str) -> CleanedUp:
        """See :meth:`gateway.ports.Cleanups.clean_up`."""
        event = CleanupEvent.of(
            Cleanup(requested_at=utc_now(), requested_by=requested_by), cleanup_id=str(uuid4()), source=SOURCE
        )
        message = Message(id=event.id, body=event.to_bytes(), content_type=CONTENT_TYPE, timestamp=event.time)
        return await self._written.write(StreamName.LOG, event.routing_key, message)

    def applied(self, cleanups: Mapping[str, CleanedUp]) -> None:
        """The view has obeyed these."""
        for cleanup_id, cleaned_up in cleanups.items():
            self._written.tell(cleanup_id, cleaned_up)
