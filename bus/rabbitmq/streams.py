"""Streams on RabbitMQ."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import structlog

from bus import topology
from bus.backoff import Backoff
from bus.errors import BusUnavailable, Unroutable
from bus.messages import Batch, Message, Position, Record, Source, StreamName
from bus.rabbitmq.connection import Link
from bus.rabbitmq.envelope import from_amqp, to_amqp
from bus.rabbitmq.publisher import Publisher
from bus.rabbitmq.stream_reader import Read, StreamReader, end_of

log = structlog.get_logger()

#: Tries of one append, and seconds for each to be confirmed.
APPEND_ATTEMPTS = 4
APPEND_LIMIT_SECONDS = 5.0
#: Records that are pushed ahead. Pieces of output are up to 90 KB each, all else is small.
_PREFETCH = {StreamName.LOG: 1_000, StreamName.OUTPUT: 200, StreamName.STATE: 1_000}


class RabbitStreams:
    """Keeps the promises of :class:`bus.ports.Streams`."""

    def __init__(self, consuming: Link, publisher: Publisher) -> None:
        self._consuming = consuming
        self._publisher = publisher

    async def append(self, stream: StreamName, key: str, message: Message) -> None:
        """Append one report, trying again where that may help."""
        topology.check_report_key(stream, key)
        backoff = Backoff()
        for attempt in range(1, APPEND_ATTEMPTS + 1):
            try:
                return await self._publisher.publish(
                    topology.REPORTS, key, to_amqp(message), limit_seconds=APPEND_LIMIT_SECONDS
                )
            except Unroutable as error:
                raise BusUnavailable(f"{stream.value} has no stream: {error}") from error
            except BusUnavailable as error:
                if attempt == APPEND_ATTEMPTS:
                    raise
                log.info("appending again", action="append_again", stream=stream.value, error=str(error))
                await backoff.pause()
        raise AssertionError("unreachable")

    def read(self, stream: StreamName, after: Position | None) -> AsyncIterator[Batch]:
        """Batches of records after a position, then new ones as they come."""
        reader = StreamReader(self._consuming, topology.STREAM_QUEUES[stream], after, prefetch=_PREFETCH[stream])
        return _records(reader)

    async def end(self, stream: StreamName) -> int | None:
        """Place of the last record that is there."""
        return await end_of(self._consuming, topology.STREAM_QUEUES[stream])


async def _records(reader: StreamReader) -> AsyncGenerator[Batch, None]:
    async with aclosing(reader.batches()) as batches:
        async for batch in batches:
            yield [_record(read) for read in batch]


def _record(read: Read) -> Record:
    delivered = read.delivered
    return Record(
        position=read.position,
        source=Source.COMMANDS if delivered.exchange == topology.COMMANDS else Source.REPORTS,
        key=delivered.routing_key or "",
        message=from_amqp(delivered),
    )
