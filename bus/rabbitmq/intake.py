"""How the commands of one pool come into this process: never more than it could run."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import aiormq.abc
import structlog
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage

from bus import topology
from bus.backoff import Backoff
from bus.errors import BusClosed, BusError, BusUnavailable
from bus.rabbitmq.connection import Link, close_quietly
from bus.rabbitmq.consumer import Consumer, give_back
from bus.rabbitmq.declaration import declare_pool
from bus.rabbitmq.delivery import RabbitDelivery, Settling
from bus.rabbitmq.envelope import from_amqp, to_amqp
from bus.rabbitmq.publisher import Publisher
from schemas.failpoints import failpoint
from schemas.times import utc_now

log = structlog.get_logger()

#: Seconds for a dead letter to be confirmed.
REJECT_LIMIT_SECONDS = 5.0
#: Consumers at the same time.
MOST_ROUNDS = 2
#: Seconds that a channel is used for. When the queue goes to another node of a cluster, what was on its way to us may be
#: lost, and counts as ours for as long as the channel lives: nobody would ever get it.
CHANNEL_SECONDS = 15.0


@dataclass(eq=False)
class Round:
    """One consumer, which brings as many commands as may be unsettled at a time.

    The broker pushes again for each delivery that is settled. Where there would be no slot for that, the round ends, and its
    consumer with it, before the delivery is settled. So that this is rare, it asks for half of what there are slots for.
    """

    prefetch: int
    #: Pushed and not settled.
    unsettled: int = 0
    consumer: Consumer | None = None

    @property
    def to_come(self) -> int:
        """How many commands the broker may still push."""
        return self.prefetch - self.unsettled if self.consumer is not None and self.consumer.live else 0


class Intake:
    """Takes from one pool's work queue.

    Calls to the broker run in tasks of their own, under one lock: a caller that is cancelled in the middle of one would cost
    the channel, and with it every delivery in hand.
    """

    def __init__(self, pool: str, link: Link, publisher: Publisher) -> None:
        self._pool = pool
        self._link = link
        self._publisher = publisher
        #: Held by whoever changes channel or round; each holder's calls have limits.
        self._lock = asyncio.Lock()
        self._channel: AbstractChannel | None = None
        self._opened_at = 0.0
        #: By channel: deliveries in hand that were not settled. A channel that is not used any more is closed after its last.
        self._unsettled: Counter[aiormq.abc.AbstractChannel] = Counter()
        self._retired: dict[aiormq.abc.AbstractChannel, AbstractChannel] = {}
        self._rounds: list[Round] = []
        #: How many commands may be there or come without being in anybody's hands.
        self._budget = 0
        self._filling: asyncio.Task[None] | None = None
        self._pushed: deque[tuple[Round, DeliveredMessage]] = deque()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def unsettled(self) -> int:
        """How many deliveries are handed out, or wait to be, and are not settled."""
        return len(self._pushed) + self._unsettled.total()

    async def take(self, free_slots: int) -> RabbitDelivery:
        """The next command."""
        backoff = Backoff()
        while not self._closed:
            self._changed.clear()
            self._budget = free_slots
            try:
                if not self._is_ready:
                    await self._finish(self._make_ready())
            except BusUnavailable as error:
                log.warning("can't consume commands", action="consume_failed", pool=self._pool, error=str(error))
                await backoff.pause()
                continue
            if self._pushed:
                round_, message = self._pushed.popleft()
                self._unsettled[message.channel] += 1
                self._budget = free_slots - 1
                self._fill_up()
                return RabbitDelivery(message, partial(self.settle, round_, message), partial(self.bury, message))
            self._fill_up()
            backoff.reset()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._opened_at + CHANNEL_SECONDS - time.monotonic())):
                    await self._changed.wait()
        raise BusClosed("the bus is closed")

    async def stop(self) -> None:
        """Stop consuming and return what was not handed out; :meth:`take` may go on later."""
        try:
            await self._finish(self._stop())
        except BusUnavailable as error:  # then the broker takes everything back by itself
            log.debug("could not return commands in order", action="return_failed", pool=self._pool, error=str(error))

    async def close(self) -> None:
        """Stop for good; what is not settled is delivered to somebody else."""
        self._closed = True
        self._changed.set()
        await self.stop()
        channel, self._channel = self._channel, None
        for left in (*([] if channel is None else [channel]), *self._retired.values()):
            await close_quietly(left)
        self._retired.clear()

    async def settle(self, round_: Round, delivered: DeliveredMessage, settling: Settling) -> None:
        """Settle one delivery of a round. Where its channel is gone there is nothing to settle: the command comes again."""
        try:
            await self._finish(self._settle(round_, delivered, settling))
        except BusUnavailable as error:
            log.info("a command will come again", action="settle_failed", pool=self._pool, error=str(error))

    async def bury(self, message: DeliveredMessage, reason: str) -> None:
        """Put a copy into the dead letters.

        Raises:
            BusUnavailable: it is not known to be there.
        """
        headers = {
            topology.REASON_HEADER: reason[: topology.REASON_LENGTH],
            topology.ORIGIN_HEADER: message.routing_key or "",
            topology.DEAD_AT_HEADER: utc_now().isoformat(),
        }
        letter = to_amqp(from_amqp(message), headers)
        await self._publisher.publish("", topology.DEAD, letter, limit_seconds=REJECT_LIMIT_SECONDS)
        failpoint("rabbitmq.buried")

    @property
    def _to_come(self) -> int:
        return sum(round_.to_come for round_ in self._rounds)

    @property
    def _room(self) -> int:
        """How many more commands there are slots for."""
        return self._budget - len(self._pushed) - self._to_come

    @property
    def _lack(self) -> int:
        """How many more are to be asked for, for half of the slots to have one in sight."""
        return -(-self._budget // 2) - len(self._pushed) - self._to_come

    @property
    def _is_ready(self) -> bool:
        """Whether something is there or may come, and both together fit into the budget."""
        # What came over a channel that is gone, the broker delivers again.
        if any(message.channel.is_closed for _, message in self._pushed):
            return False
        return self._room >= 0 and bool(self._pushed or (self._to_come and not self._is_old))

    async def _make_ready(self) -> None:
        async with self._lock:
            self._pushed = deque((of, message) for of, message in self._pushed if not message.channel.is_closed)
            if self._is_ready:
                return
            await self._end_rounds()
            while len(self._pushed) > self._budget:
                await give_back(self._pushed.pop()[1])
            if not self._pushed:
                await self._begin_round(self._lack)

    def _fill_up(self) -> None:
        """Ask for more where slots have become free, beside whoever waits or goes on."""
        if self._filling is None and self._may_begin:
            self._filling = asyncio.create_task(self._fill(), name=f"intake of pool {self._pool}")
            self._tasks.add(self._filling)
            self._filling.add_done_callback(self._finished)

    @property
    def _may_begin(self) -> bool:
        # Not for each one that is missing: a round costs the broker more than a command.
        is_worth_it = not self._is_old and 4 * self._lack > self._budget
        return is_worth_it and sum(round_.to_come > 0 for round_ in self._rounds) < MOST_ROUNDS

    async def _fill(self) -> None:
        try:
            async with self._lock:
                if self._may_begin and not self._closed:
                    await self._begin_round(self._lack)
        finally:
            self._filling = None
            self._changed.set()

    @property
    def _is_old(self) -> bool:
        return time.monotonic() - self._opened_at >= CHANNEL_SECONDS

    async def _retire_channel(self) -> None:
        """Leave the channel to the deliveries in hand that came over it."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        underlay = await channel.get_underlay_channel()
        if self._unsettled[underlay]:
            self._retired[underlay] = channel
        else:
            await close_quietly(channel)

    async def _begin_round(self, prefetch: int) -> None:
        if self._channel is not None and not self._channel.is_closed and self._is_old and not self._rounds:
            await self._retire_channel()
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._link.channel()
            self._opened_at = time.monotonic()
            # Cheap, and heals a queue that somebody deleted: without it, consuming would fail until a process starts anew.
            await declare_pool(self._channel, self._pool)
        round_ = Round(prefetch)
        self._rounds.append(round_)

        def on_message(message: DeliveredMessage) -> None:
            round_.unsettled += 1
            self._pushed.append((round_, message))
            self._changed.set()

        try:
            round_.consumer = await Consumer.start(
                self._channel,
                topology.work_queue(self._pool).name,
                prefetch=prefetch,
                on_message=on_message,
                on_lost=self._changed.set,
            )
        except BaseException:
            # It may be consuming all the same: without the channel it can't.
            await self._drop_channel()
            raise

    async def _end_rounds(self) -> None:
        while self._rounds:
            await self._end_round(self._rounds[-1])

    async def _end_round(self, round_: Round) -> None:
        self._rounds.remove(round_)
        if round_.consumer is None:
            return
        try:
            await round_.consumer.cancel()
            failpoint("rabbitmq.consumer_cancelled")
        except BusUnavailable:
            await self._drop_channel()
            raise

    async def _drop_channel(self) -> None:
        channel, self._channel = self._channel, None
        self._rounds.clear()
        self._pushed.clear()
        if channel is not None:
            await close_quietly(channel)

    async def _settle(self, round_: Round, delivered: DeliveredMessage, settling: Settling) -> None:
        async with self._lock:
            try:
                if round_ in self._rounds and (self._room < 1 or self._is_old):
                    await self._end_round(round_)
                round_.unsettled -= 1
                await settling(delivered)
            finally:
                await self._let_go(delivered.channel)
        self._changed.set()

    async def _let_go(self, channel: aiormq.abc.AbstractChannel) -> None:
        self._unsettled[channel] -= 1
        if not self._unsettled[channel]:
            del self._unsettled[channel]
            if (retired := self._retired.pop(channel, None)) is not None:
                await close_quietly(retired)

    async def _stop(self) -> None:
        async with self._lock:
            self._budget = 0
            await self._end_rounds()
            while self._pushed:
                await give_back(self._pushed.pop()[1])

    async def _finish(self, work: Coroutine[None, None, None]) -> None:
        """Let ``work`` come to its end even if the caller is cancelled meanwhile."""
        task = asyncio.create_task(work, name=f"intake of pool {self._pool}")
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, BusError):
            log.error("taking commands failed", action="intake_failed", pool=self._pool, exc_info=error)
