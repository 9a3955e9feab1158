"""Leases on RabbitMQ: records of a stream that is kept for an hour."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from uuid import uuid4

import structlog
from pydantic import TypeAdapter, ValidationError

from bus import topology
from bus.attendance import Attendance
from bus.backoff import Backoff
from bus.errors import BusUnavailable, StreamGap, Unroutable
from bus.messages import LEASE_SECONDS, LEASE_TTL_SECONDS, LEASES_A_TTL, Lease, Message, Tick
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
LONGEST_TTL_SECONDS = 3600.0
_MOST_EXECUTIONS = 1_000_000

#: Seconds for a tick to be confirmed, and to be read back, before it is written again.
_TICK_LIMIT_SECONDS = 5.0
#: Intervals in which a runner that lives has written another lease.
_PATIENCE = 1.5

_LEASE = TypeAdapter(Lease)
_TICK = TypeAdapter(Tick)


class _Namesakes:
    """Leases of one runner id, some perhaps of another journal than the own one."""

    def __init__(self, own: Lease) -> None:
        self._own = own
        self._news = asyncio.Event()
        self.own_was_read = False
        #: Those of another journal that were not a goodbye, and the last of any kind.
        self.others = 0
        self.last: Lease | None = None

    def hear(self, lease: Lease) -> None:
        """The next lease of the stream."""
        if lease.runner_id == self._own.runner_id:
            if lease.epoch != self._own.epoch:
                self.last = lease
                self.others += not lease.leaves
            elif lease.started_at == self._own.started_at:
                self.own_was_read = True
            self._news.set()

    async def wait(self, limit_seconds: float, reading: asyncio.Task[None]) -> None:
        """Wait for the next one, a limited time. Raises what ended the reading."""
        self._news.clear()
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait({news, reading}, timeout=limit_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        if reading.done():
            try:
                reading.result()
            except StreamGap as error:
                raise BusUnavailable(f"leases can't be read now: {error}") from error


class _Holding:
    """One holding of the announcer's lock, as the stream of leases shows it."""

    def __init__(self, seconds: float) -> None:
        self._holder = str(uuid4())
        self._seconds = seconds
        self.attendance = Attendance(self._holder)
        #: Set by each tick that was read.
        self.news = asyncio.Event()

    def next_tick(self) -> Tick:
        """The one that is due."""
        return Tick(holder=self._holder, number=self.attendance.ticks + 1, seconds=self._seconds)


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

    async def rival_of(self, lease: Lease) -> Lease | None:
        """Read what was written under the id a moment ago, and what is written there now."""
        namesakes = _Namesakes(lease)
        reading = asyncio.create_task(self._read_namesakes(namesakes), name="leases of the same id")
        try:
            while not namesakes.own_was_read:
                await self.keep(lease)
                # One that is stored in the moment in which a reader attaches may pass it by: then it is written again.
                await namesakes.wait(_TICK_LIMIT_SECONDS, reading)
            if (last := namesakes.last) is None or last.leaves:
                return None
            seen = namesakes.others
            give_up_at = time.monotonic() + _PATIENCE * last.ttl_seconds / LEASES_A_TTL
            while namesakes.others == seen and (left := give_up_at - time.monotonic()) > 0:
                await namesakes.wait(left, reading)
            return namesakes.last if namesakes.others > seen else None
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read_namesakes(self, namesakes: "_Namesakes") -> None:
        reader = StreamReader(self._consuming, topology.LEASES, None, start=_START, prefetch=_PREFETCH)
        async with aclosing(reader.batches()) as batches:
            async for batch in batches:
                for read in batch:
                    if (lease := self._lease_in(read)) is not None:
                        namesakes.hear(lease)

    async def ticks(self, seconds: float) -> AsyncIterator[Attendance]:
        """Write ticks, and tell after each was read back what the stream says by then.

        The first record there is, is where reading begins: a lease may be good for as long as the stream keeps it.
        """
        while True:
            holding = _Holding(seconds)
            reading = asyncio.create_task(self._read_all(holding), name="leases and ticks")
            try:
                while not reading.done():
                    await self._tick(holding, reading)
                    if not reading.done():
                        yield holding.attendance
                        # Counted from here, so that between two ticks in the stream so much time has passed at least.
                        await asyncio.wait({reading}, timeout=seconds)
                reading.result()
            except StreamGap as error:
                log.warning("counting ticks anew", action="ticks_restarted", why=str(error))
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _tick(self, holding: "_Holding", reading: asyncio.Task[None]) -> None:
        """Write the next tick until it was read back, or reading has ended."""
        backoff = Backoff()
        tick = holding.next_tick()
        message = Message(id=f"{tick.holder}:{tick.number}", body=_TICK.dump_json(tick))
        while holding.attendance.ticks < tick.number and not reading.done():
            holding.news.clear()
            try:
                await self._publisher.publish(
                    topology.REPORTS, topology.TICK_KEY, to_amqp(message), limit_seconds=_TICK_LIMIT_SECONDS
                )
            except (Unroutable, BusUnavailable) as error:
                log.warning("a tick was not written", action="tick_not_written", error=str(error))
                await backoff.pause()
                continue
            news = asyncio.create_task(holding.news.wait())
            try:
                # A record that is stored in the moment in which a reader attaches may pass it by: then it is written again.
                await asyncio.wait({news, reading}, timeout=_TICK_LIMIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()

    async def _read_all(self, holding: "_Holding") -> None:
        reader = StreamReader(self._consuming, topology.LEASES, None, prefetch=_PREFETCH)
        async with aclosing(reader.batches()) as batches:
            async for batch in batches:
                for read in batch:
                    if (read.delivered.exchange, read.delivered.routing_key) == (topology.REPORTS, topology.TICK_KEY):
                        self._count(read, holding)
                    elif (lease := self._lease_in(read)) is not None:
                        holding.attendance.hear(lease)

    def _count(self, read: Read, holding: "_Holding") -> None:
        try:
            tick = _TICK.validate_json(read.delivered.body, strict=True)
        except ValidationError as error:
            self._skip(read, error)
            return
        holding.attendance.tick(tick)
        holding.news.set()

    def _hear(self, read: Read) -> None:
        if (lease := self._lease_in(read)) is not None:
            self._roster.hear(lease)

    def _lease_in(self, read: Read) -> Lease | None:
        if (read.delivered.exchange, read.delivered.routing_key) != (topology.REPORTS, topology.LEASE_KEY):
            return None
        try:
            lease = _LEASE.validate_json(read.delivered.body, strict=True)
            topology.question_key(lease.runner_id)
        except (ValidationError, ValueError) as error:
            self._skip(read, error)
            return None
        if 0 < lease.ttl_seconds <= LONGEST_TTL_SECONDS and 1 <= lease.max_concurrent_executions <= _MOST_EXECUTIONS:
            return lease
        self._skip(read, ValueError("a number is out of bounds"))
        return None

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
