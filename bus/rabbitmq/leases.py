"""Leases on RabbitMQ: records of a stream that is kept for an hour."""

from contextlib import aclosing
from uuid import uuid4

import structlog
from pydantic import TypeAdapter, ValidationError

from bus import topology
from bus.errors import BusUnavailable, StreamGap, Unroutable
from bus.messages import LEASE_SECONDS, LEASE_TTL_SECONDS, Lease, Message
from bus.rabbitmq.connection import Link
from bus.rabbitmq.envelope import to_amqp
from bus.rabbitmq.publisher import Publisher
from bus.rabbitmq.stream_reader import Read, StreamReader
from bus.roster import Roster

log = structlog.get_logger()

#: How far back reading begins, by the broker's own clock: what is older has run out.
_START = f"{LEASE_TTL_SECONDS + 2 * LEASE_SECONDS:.0f}s"
#: Records that are pushed ahead.
_PREFETCH = 200
#: Seconds of the longest life that a lease may claim, and the most executions at a time.
_LONGEST_TTL_SECONDS = 3600.0
_MOST_EXECUTIONS = 1_000_000

_LEASE = TypeAdapter(Lease)


class RabbitLeases:
    """Keeps the promises of :class:`bus.ports.Leases`."""

    def __init__(self, consuming: Link, publisher: Publisher) -> None:
        self._consuming = consuming
        self._publisher = publisher
        self._roster = Roster()
        self._malformed = 0

    @property
    def malformed(self) -> int:
        """How many records could not be understood since the start."""
        return self._malformed

    async def keep(self, lease: Lease) -> None:
        """Write the lease. It must be confirmed before the next one is due."""
        message = Message(id=f"{lease.runner_id}:{uuid4()}", body=_LEASE.dump_json(lease), timestamp=lease.written_at)
        try:
            await self._publisher.publish(topology.REPORTS, topology.LEASE_KEY, to_amqp(message), limit_seconds=LEASE_SECONDS)
        except Unroutable as error:
            raise BusUnavailable(f"leases have no stream: {error}") from error

    async def follow(self) -> None:
        """Read leases from a moment ago on, and go on where it was left after a lost connection."""
        while True:
            reader = StreamReader(self._consuming, topology.LEASES, None, start=_START, prefetch=_PREFETCH)
            try:
                async with aclosing(reader.batches()) as batches:
                    async for batch in batches:
                        for read in batch:
                            self._hear(read)
            except StreamGap as error:
                # It is not the stream it was. Those who live write again within seconds.
                log.warning("reading leases anew", action="leases_reread", why=str(error))

    def live(self) -> list[Lease]:
        """Whose lease holds, as far as was read."""
        return self._roster.live()

    def _hear(self, read: Read) -> None:
        if (read.delivered.exchange, read.delivered.routing_key) != (topology.REPORTS, topology.LEASE_KEY):
            return
        try:
            lease = _LEASE.validate_json(read.delivered.body, strict=True)
            topology.question_key(lease.runner_id)
        except (ValidationError, ValueError) as error:
            self._skip(read, error)
            return
        if 0 < lease.ttl_seconds <= _LONGEST_TTL_SECONDS and 1 <= lease.max_concurrent_executions <= _MOST_EXECUTIONS:
            self._roster.hear(lease)
        else:
            self._skip(read, ValueError("a number is out of bounds"))

    def _skip(self, read: Read, error: ValueError) -> None:
        self._malformed += 1
        # Of pydantic's words only the type: they repeat what is in the body.
        why = f"{error.error_count()} mistakes in the body" if isinstance(error, ValidationError) else str(error)
        log.warning(
            "skipped a malformed lease",
            action="lease_malformed",
            offset=read.position.offset,
            why=why,
            so_far=self._malformed,
        )
