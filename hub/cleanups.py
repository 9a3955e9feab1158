"""Cleanups: written into the log, where every view comes by; whoever asked for one hears what it did to the view here."""

import asyncio
from collections.abc import Mapping
from uuid import uuid4

from bus.messages import Message, StreamName
from bus.ports import Streams
from hub.view_writer import CleanedUp
from schemas.events import CONTENT_TYPE, Cleanup, CleanupEvent
from schemas.times import utc_now

#: Seconds that the whole of it may take.
LIMIT_SECONDS = 10.0
#: Who says so.
SOURCE = "/hub"


class Cleanups:
    """Asks for cleanups, and is told by the projector."""

    def __init__(self, streams: Streams, *, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._streams = streams
        self._limit_seconds = limit_seconds
        self._waiting: dict[str, asyncio.Future[CleanedUp]] = {}

    async def clean_up(self, *, requested_by: str) -> int:
        """See :meth:`gateway.ports.Cleanups.clean_up`."""
        event = CleanupEvent.of(
            Cleanup(requested_at=utc_now(), requested_by=requested_by), cleanup_id=str(uuid4()), source=SOURCE
        )
        # Before it is written: the projector may be faster than the confirm.
        done: asyncio.Future[CleanedUp] = asyncio.get_running_loop().create_future()
        self._waiting[event.id] = done
        try:
            async with asyncio.timeout(self._limit_seconds):
                message = Message(id=event.id, body=event.to_bytes(), content_type=CONTENT_TYPE, timestamp=event.time)
                await self._streams.append(StreamName.LOG, event.routing_key, message)
                return (await done).removed
        finally:
            del self._waiting[event.id]

    def applied(self, cleanups: Mapping[str, CleanedUp]) -> None:
        """The view has obeyed these."""
        for cleanup_id, cleaned_up in cleanups.items():
            # One that was written twice did its work the first time.
            if (done := self._waiting.get(cleanup_id)) is not None and not done.done():
                done.set_result(cleaned_up)
