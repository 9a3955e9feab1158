"""A subscription to announcements."""

import asyncio
from collections import deque

import structlog
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage

from bus import topology
from bus.backoff import Backoff
from bus.errors import BusUnavailable
from bus.messages import Announcement
from bus.rabbitmq.calls import CALL_LIMIT_SECONDS, bounded
from bus.rabbitmq.connection import Link, close_quietly
from bus.rabbitmq.consumer import Consumer, ack
from bus.rabbitmq.declaration import declare_queue
from bus.rabbitmq.envelope import from_amqp

log = structlog.get_logger()

#: Announcements that are pushed ahead.
_PREFETCH = 200
#: Seconds without an announcement after which a durable subscription begins anew: the last ones may have been lost on their way
#: to us, as its queue went to another node of a cluster, and count as ours until then.
IDLE_SECONDS = 30.0


class Subscription:
    """Announcements, each settled when the next one is asked for."""

    def __init__(self, link: Link, patterns: list[str], name: str | None) -> None:
        self._link = link
        self._patterns = patterns
        self._name = name
        self._channel: AbstractChannel | None = None
        self._received: deque[DeliveredMessage] = deque()
        self._changed = asyncio.Event()
        self._lost = False
        #: Handed out and not settled yet.
        self._in_hand: DeliveredMessage | None = None

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Announcement:
        """The next announcement.

        Raises:
            BusUnavailable: the connection was lost, and with it a queue without a name: something may have been missed.
        """
        backoff = Backoff()
        while True:
            await self.settle()
            if self._received:
                self._in_hand = self._received.popleft()
                return Announcement(key=self._in_hand.routing_key or "", message=from_amqp(self._in_hand))
            if self._lost:
                await self._recover(backoff)
                continue
            self._changed.clear()
            try:
                async with asyncio.timeout(None if self._name is None else IDLE_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                self._lost = True

    async def open(self) -> None:
        """Subscribe.

        Raises:
            BusUnavailable: it can't be done now.
        """
        channel = self._channel = await self._link.channel()
        self._lost = False
        queue = await bounded(self._declare(channel), CALL_LIMIT_SECONDS, "subscribing")

        def on_lost() -> None:
            if channel is self._channel:
                self._lost = True
                self._changed.set()

        def on_message(message: DeliveredMessage) -> None:
            self._received.append(message)
            self._changed.set()

        await Consumer.start(channel, queue, prefetch=_PREFETCH, on_message=on_message, on_lost=on_lost)

    async def settle(self) -> None:
        """The announcement that was handed out has been dealt with."""
        in_hand, self._in_hand = self._in_hand, None
        if in_hand is not None:
            try:
                await ack(in_hand)
            except BusUnavailable as error:  # it comes again, as it may
                log.debug("an announcement was not settled", action="announcement_not_settled", error=str(error))

    async def close(self) -> None:
        """End it: a queue without a name goes away, one with a name keeps what comes."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await close_quietly(channel)

    async def _declare(self, channel: AbstractChannel) -> str:
        if self._name is None:
            queue = await channel.declare_queue(
                exclusive=True,
                auto_delete=True,
                arguments={"x-max-length": topology.SUBSCRIPTION_LENGTH, "x-overflow": "drop-head"},
            )
            name = queue.name
        else:
            durable = topology.subscriber_queue(self._name)
            await declare_queue(channel, durable)
            name = durable.name
        underlay = await channel.get_underlay_channel()
        for pattern in self._patterns:
            await underlay.queue_bind(name, topology.EXECUTIONS, pattern)
        return name

    async def _recover(self, backoff: Backoff) -> None:
        if self._name is None:
            raise BusUnavailable("the connection was lost, and announcements may have been missed: subscribe again")
        await self.close()
        try:
            await self.open()
        except BusUnavailable as error:
            self._lost = True
            log.info("can't subscribe", action="subscribe_failed", name=self._name, error=str(error))
            await backoff.pause()
