"""Confirmed publishing."""

import asyncio
import time
from collections.abc import Callable, Collection

import structlog
from aio_pika import Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelInvalidStateError, DeliveryError, PublishError

from bus.errors import BusUnavailable, Unroutable
from bus.rabbitmq.calls import describe, is_client_error
from bus.rabbitmq.connection import Link, close_quietly

log = structlog.get_logger()

#: Publishes that may wait for their confirm; above it nothing more is sent.
MOST_UNCONFIRMED = 2_000
#: Seconds without any confirm after which a node of a cluster is no good: longer than the others take to go on without it.
STALL_SECONDS = 12.0
#: Seconds for which one message may wait for its confirm before its channel is given up. In a cluster a stream's leader may
#: move in a way that a channel which wrote to it does not hear of: that goes on to confirm what goes elsewhere, and never
#: again what goes there.
WEDGED_SECONDS = 4.5
#: Seconds that a channel is used for at least, whatever is refused on it. A full queue refuses on any channel; one whose queue
#: went to another node of a cluster may refuse for ever, on this channel alone.
REFUSED_SECONDS = 1.0


class Publisher:
    """Publishes on one channel; every message is mandatory and confirmed."""

    def __init__(self, link: Link, on_stall: Callable[[str], None]) -> None:
        """``on_stall`` hears that the server is there, but confirms nothing any more: other nodes may."""
        self._link = link
        self._on_stall = on_stall
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        #: By message id: two messages of one id must not be under way at once. The library tells returned ones apart by it
        #: alone, and would take the broker's refusal of the one for that of the other.
        self._under_way: dict[str, asyncio.Task[object]] = {}
        #: By message id: the channel it was published on, and the monotonic time of that.
        self._sent: dict[str, tuple[AbstractChannel, float]] = {}
        self._goodbyes: set[asyncio.Task[None]] = set()
        #: Monotonic time since which nothing is confirmed; ``None`` where all is well.
        self._stalled_at: float | None = None
        self._replacing = False
        self._opened_at = 0.0
        #: Monotonic time since which all was refused; ``None`` where something was not.
        self._refused_at: float | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong with publishing now; ``None`` where nothing is."""
        return "RabbitMQ does not confirm what is published (memory or disk alarm?)" if self._stalled_at is not None else None

    async def publish(self, exchange: str, key: str, message: Message, *, limit_seconds: float) -> None:
        """Publish; the broker has the message durably when this returns. If the caller is cancelled, the publish goes on.

        Raises:
            Unroutable: no queue is bound there; nobody got it.
            BusUnavailable: with ``outcome_unknown`` where somebody may have got it all the same.
        """
        message_id = message.message_id or ""
        deadline = asyncio.get_running_loop().time() + limit_seconds
        under_way = False
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    channel = await self._open_channel(limit_seconds)
                    if (other := self._under_way.get(message_id)) is not None:
                        under_way = True
                        await asyncio.wait({other})
                        under_way = False
                        continue
                    if len(self._under_way) >= MOST_UNCONFIRMED:
                        raise BusUnavailable(self.problem or "too many messages wait for their confirm")
                    task = self._start(channel, exchange, key, message, message_id)
                    under_way = True
                    await asyncio.wait({task})
                    self._look_at_refusal(task, channel)
                    if self._was_sent(task):
                        return
                    under_way = False
                    self._channel = None
        except TimeoutError as error:
            if under_way:
                await self._stall()
                raise BusUnavailable(f"RabbitMQ did not confirm within {limit_seconds:g} s", outcome_unknown=True) from error
            raise BusUnavailable(self._link.problem or "RabbitMQ does not answer") from error

    async def close(self) -> None:
        """Wait for nothing more: what is under way ends with the connection."""
        for task in self._under_way.values():
            task.cancel()
        if ends := (*self._under_way.values(), *self._goodbyes):
            await asyncio.wait(ends)

    async def _stall(self) -> None:
        """Something was not confirmed in time: see whose fault that is."""
        now = time.monotonic()
        stalled_at = self._stalled_at = self._stalled_at or now
        if await self._link.is_blocked():
            return  # all will be confirmed once the server has room again
        if now - stalled_at > STALL_SECONDS:
            # A node that the others have left behind answers everything, and confirms nothing.
            self._on_stall(f"nothing was confirmed for {STALL_SECONDS:g} s")
        for channel in {channel for channel, sent_at in self._sent.values() if now - sent_at >= WEDGED_SECONDS}:
            log.warning("giving up a channel that does not confirm", action="publisher_wedged")
            self._replace(channel)

    def _start(
        self, channel: AbstractChannel, exchange: str, key: str, message: Message, message_id: str
    ) -> asyncio.Task[object]:
        async def publish() -> object:
            underlay = await channel.get_underlay_channel()
            # Not until it has left: others may follow it at once, and their confirms be waited for together.
            return await underlay.basic_publish(  # type: ignore[call-arg]  # "wait" is missing in its abstract class
                message.body,
                exchange=exchange,
                routing_key=key,
                properties=message.properties,
                mandatory=True,
                wait=False,
            )

        task: asyncio.Task[object] = asyncio.create_task(publish(), name=f"publish {message_id}")
        self._under_way[message_id] = task
        self._sent[message_id] = channel, time.monotonic()
        task.add_done_callback(lambda done: self._ended(message_id, done))
        return task

    def _ended(self, message_id: str, task: asyncio.Task[object]) -> None:
        self._under_way.pop(message_id, None)
        self._sent.pop(message_id, None)
        if not task.cancelled() and task.exception() is None:
            if self._stalled_at is not None:
                log.info("RabbitMQ confirms again", action="bus_confirms_again")
            self._stalled_at = self._refused_at = None

    def _look_at_refusal(self, task: asyncio.Task[object], channel: AbstractChannel) -> None:
        refused = not task.cancelled() and isinstance(task.exception(), DeliveryError)
        if not refused or isinstance(task.exception(), PublishError):
            return
        now = time.monotonic()
        self._refused_at = self._refused_at or now
        if now - self._refused_at > STALL_SECONDS:
            self._refused_at = None
            self._on_stall(f"all was refused for {STALL_SECONDS:g} s")
        elif channel is self._channel and now - self._opened_at >= REFUSED_SECONDS:
            log.info("another channel instead of one that refuses", action="publisher_refused")
            self._replace(channel, after=[self._under_way[sent] for sent, (on, _) in self._sent.items() if on is channel])

    def _replace(self, channel: AbstractChannel, after: Collection[asyncio.Task[object]] = ()) -> None:
        """Give a channel up; it is closed once these publishes have ended, or after a while."""
        if channel is self._channel:
            self._channel = None
            self._replacing = True

        async def close() -> None:
            if after:
                await asyncio.wait(after, timeout=WEDGED_SECONDS)
            await close_quietly(channel)

        goodbye = asyncio.create_task(close(), name="goodbye of a channel that is given up")
        self._goodbyes.add(goodbye)
        goodbye.add_done_callback(self._goodbyes.discard)

    @staticmethod
    def _was_sent(task: asyncio.Task[object]) -> bool:
        """True where it was confirmed, false where it never left because its channel was closed before."""
        if task.cancelled():
            raise BusUnavailable("the connection was lost before the confirm came", outcome_unknown=True)
        error = task.exception()
        if error is None:
            return True
        if isinstance(error, ChannelInvalidStateError):
            return False
        if isinstance(error, PublishError):
            raise Unroutable(f"no queue takes this message: {describe(error)}") from error
        if isinstance(error, DeliveryError):
            raise BusUnavailable("RabbitMQ refused the message (a nack)", outcome_unknown=True) from error
        if is_client_error(error):
            raise BusUnavailable(f"publishing failed: {describe(error)}", outcome_unknown=True) from error
        raise error

    async def _open_channel(self, limit_seconds: float) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                if not self._replacing:  # it is another connection
                    self._stalled_at = None
                self._channel = await self._link.channel(within_seconds=limit_seconds, on_return_raises=True)
                self._replacing = False
                self._opened_at = time.monotonic()
            return self._channel
