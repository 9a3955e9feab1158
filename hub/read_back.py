"""Writing a record and waiting until this process's own reader has come to it."""

import asyncio
from typing import Generic, TypeVar

from bus.errors import BusUnavailable
from bus.messages import Message, StreamName
from bus.ports import Streams
from schemas.failpoints import failpoint

T = TypeVar("T")

#: Seconds that the whole of it may take.
LIMIT_SECONDS = 10.0


class ReadBack(Generic[T]):
    """Whoever writes a record hears here what became of it; whoever reads the stream tells."""

    def __init__(self, streams: Streams, *, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._streams = streams
        self._limit_seconds = limit_seconds
        self._waiting: dict[str, asyncio.Future[T]] = {}

    async def write(self, stream: StreamName, key: str, message: Message) -> T:
        """Append the record, which has an id of its own, and return what :meth:`tell` was told about it.

        Raises:
            BusError: it was not written; with ``outcome_unknown``, where there is one, perhaps it was.
            TimeoutError: it is written, and the reader has not come to it yet.
        """
        # Before it is written: the reader may be faster than the confirm.
        message_id = message.id or ""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[message_id] = done
        deadline = asyncio.get_running_loop().time() + self._limit_seconds
        try:
            try:
                async with asyncio.timeout_at(deadline):
                    await self._streams.append(stream, key, message)
                    failpoint("gateway.record_appended")
            except TimeoutError as error:
                raise BusUnavailable("a record was not confirmed in time", outcome_unknown=True) from error
            async with asyncio.timeout_at(deadline):
                return await done
        finally:
            del self._waiting[message_id]

    def tell(self, message_id: str, result: T) -> None:
        """The reader has come to this record. One that the bus repeats did its work the first time."""
        if (done := self._waiting.get(message_id)) is not None and not done.done():
            done.set_result(result)
