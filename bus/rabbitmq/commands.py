"""Commands on RabbitMQ: accepting them, and how they come to a runner."""

import asyncio
import time
from contextlib import suppress

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity

from bus import topology
from bus.errors import BusError, BusUnavailable, UnknownPool, Unroutable
from bus.messages import Message
from bus.ports import Delivery
from bus.rabbitmq.calls import bounded
from bus.rabbitmq.connection import Link, close_quietly
from bus.rabbitmq.envelope import to_amqp
from bus.rabbitmq.intake import Intake
from bus.rabbitmq.publisher import Publisher

#: Seconds until an accept is confirmed or given up: a gateway must answer within two.
ACCEPT_LIMIT_SECONDS = 1.4
#: Seconds for counting what waits.
COUNT_LIMIT_SECONDS = 1.0
#: Seconds that a count is good for.
COUNT_AGE_SECONDS = 1.0


class RabbitCommands:
    """Keeps the promises of :class:`bus.ports.Commands`."""

    def __init__(self, consuming: Link, publisher: Publisher) -> None:
        self._consuming = consuming
        self._publisher = publisher
        self._intakes: dict[str, Intake] = {}
        self._counting = asyncio.Lock()
        self._counter: AbstractChannel | None = None
        #: By pool: monotonic time of the count, and the count.
        self._counts: dict[str, tuple[float, int]] = {}
        self._recounts: dict[str, asyncio.Task[None]] = {}

    async def accept(self, pool: str, message: Message) -> None:
        """Publish to work queue and log in one step."""
        await self._publish(topology.COMMANDS, topology.execute_key(pool), pool, message)

    async def retry(self, pool: str, message: Message) -> None:
        """The same from where commands of others don't come."""
        await self._publish(topology.REPORTS, topology.retry_key(pool), pool, message)

    async def take(self, pool: str, free_slots: int) -> Delivery:
        """Wait for the next command."""
        if free_slots < 1:
            raise ValueError("take() needs at least one free slot")
        if pool not in self._intakes:
            self._intakes[pool] = Intake(pool, self._consuming, self._publisher)
        return await self._intakes[pool].take(free_slots)

    async def stop_taking(self) -> None:
        """Stop consuming and return what was not handed out."""
        for intake in self._intakes.values():
            await intake.stop()

    def unsettled(self) -> int:
        """How many deliveries this process has."""
        return sum(intake.unsettled for intake in self._intakes.values())

    async def waiting(self, pool: str) -> int:
        """How many commands wait.

        Raises:
            UnknownPool: the pool has no work queue.
        """
        counted_at, count = self._counts.get(pool, (float("-inf"), 0))
        age_seconds = time.monotonic() - counted_at
        if age_seconds > COUNT_AGE_SECONDS:
            return await self._counted(pool)
        if age_seconds > COUNT_AGE_SECONDS / 2 and pool not in self._recounts:
            # Beside those who ask: while they come, nobody waits for it.
            self._recounts[pool] = recount = asyncio.create_task(self._count_again(pool), name=f"count what waits in {pool}")
            recount.add_done_callback(lambda _: self._recounts.pop(pool, None))
        return count

    async def _count_again(self, pool: str) -> None:
        with suppress(BusError):  # the next one to ask after the count has aged hears of it
            await self._counted(pool, COUNT_AGE_SECONDS / 2)

    async def _counted(self, pool: str, age_seconds: float = COUNT_AGE_SECONDS) -> int:
        """A count of at most that age."""
        name = topology.work_queue(pool).name
        try:
            async with asyncio.timeout(COUNT_LIMIT_SECONDS), self._counting:
                counted_at, count = self._counts.get(pool, (float("-inf"), 0))
                if time.monotonic() - counted_at > age_seconds:
                    count = await self._count(name)
                    self._counts[pool] = time.monotonic(), count
                return count
        except TimeoutError as error:
            raise BusUnavailable(self._consuming.problem or "RabbitMQ does not say how much waits") from error
        except BusUnavailable as error:
            if isinstance(error.__cause__, ChannelNotFoundEntity):
                raise UnknownPool(pool) from error
            raise

    async def close(self) -> None:
        """Stop for good."""
        if recounts := list(self._recounts.values()):
            for recount in recounts:
                recount.cancel()
            await asyncio.wait(recounts)
        for intake in self._intakes.values():
            await intake.close()
        if self._counter is not None:
            await close_quietly(self._counter)

    async def _publish(self, exchange: str, key: str, pool: str, message: Message) -> None:
        try:
            await self._publisher.publish(exchange, key, to_amqp(message), limit_seconds=ACCEPT_LIMIT_SECONDS)
        except Unroutable as error:
            raise UnknownPool(pool) from error

    async def _count(self, queue: str) -> int:
        if self._counter is None or self._counter.is_closed:
            self._counter = await self._consuming.channel(within_seconds=COUNT_LIMIT_SECONDS)
        declared = await bounded(
            self._counter.declare_queue(queue, passive=True), COUNT_LIMIT_SECONDS, f"counting what waits in {queue}"
        )
        return declared.declaration_result.message_count or 0
