"""One channel at a time to publish on, and what is under way on it."""

import asyncio
import time
from collections.abc import Collection

import structlog
from aio_pika import Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelInvalidStateError, DeliveryError, PublishError

from bus.errors import BusUnavailable, Unroutable
from bus.rabbitmq.calls import describe, is_client_error, publish_on
from bus.rabbitmq.confirms import Confirms
from bus.rabbitmq.connection import Link, close_quietly

log = structlog.get_logger()

#: Publishes of one lane that may wait for their confirm; above it nothing more is sent.
MOST_UNCONFIRMED = 2_000
#: Seconds for which one message may wait for its confirm before its channel is given up. In a cluster messages between two
#: nodes may be lost while the channel stays: it goes on to confirm what comes later, and never again what was lost.
WEDGED_SECONDS = 4.5
#: Seconds that a channel is used for at least, whatever is refused on it. A full queue refuses on any channel; one whose queue
#: went to another node of a cluster may refuse for ever, on this channel alone.
REFUSED_SECONDS = 1.0


class Lane:
    """Publishes on one channel; another one takes its place once it is closed, wedged, refuses, or has lost count."""

    def __init__(self, link: Link, confirms: Confirms, *, counts: bool) -> None:
        """``counts`` says that each message must go to the lane's stream, and why: see :class:`Publisher`."""
        self._link = link
        self._confirms = confirms
        self._counts = counts
        self._channel: AbstractChannel | None = None
        self._opened_at = 0.0
        self._opening = asyncio.Lock()
        #: By message id: two messages of one id must not be under way at once. The library tells returned ones apart by it
        #: alone, and would take the broker's refusal of the one for that of the other.
        self._under_way: dict[str, asyncio.Task[object]] = {}
        #: By message id: the channel it was published on, and the monotonic time of that.
        self._sent: dict[str, tuple[AbstractChannel, float]] = {}
        #: Channels that were given up, each with what closes it.
        self._goodbyes: dict[AbstractChannel, asyncio.Task[None]] = {}

    async def publish(self, exchange: str, key: str, message: Message, *, limit_seconds: float) -> None:
        """As :meth:`bus.rabbitmq.publisher.Publisher.publish`.

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
                        raise BusUnavailable(self._confirms.problem or "too many messages wait for their confirm")
                    task = self._start(channel, exchange, key, message, message_id)
                    under_way = True
                    await asyncio.wait({task})
                    self._look_at_refusal(task, channel)
                    if self._was_sent(task):
                        return
                    under_way = False
                    self._lose(channel)
        except TimeoutError as error:
            if under_way:
                await self._stall()
                raise BusUnavailable(f"RabbitMQ did not confirm within {limit_seconds:g} s", outcome_unknown=True) from error
            raise BusUnavailable(self._link.problem or "RabbitMQ does not answer") from error

    async def close(self) -> None:
        """Wait for nothing more: what is under way ends with the connection."""
        for task in self._under_way.values():
            task.cancel()
        if ends := (*self._under_way.values(), *self._goodbyes.values()):
            await asyncio.wait(ends)

    async def _stall(self) -> None:
        """Something was not confirmed in time: see whose fault that is."""
        since = self._confirms.are_missing()
        if await self._link.is_blocked():
            return  # all will be confirmed once the server has room again
        self._confirms.look_for_others(since)
        now = time.monotonic()
        for channel in {channel for channel, sent_at in self._sent.values() if now - sent_at >= WEDGED_SECONDS}:
            if channel not in self._goodbyes:
                log.warning("giving up a channel that does not confirm", action="publisher_wedged")
                self._replace(channel)

    def _start(
        self, channel: AbstractChannel, exchange: str, key: str, message: Message, message_id: str
    ) -> asyncio.Task[object]:
        publishing = publish_on(channel, exchange, key, message, mandatory=True)
        task: asyncio.Task[object] = asyncio.create_task(publishing, name=f"publish {message_id}")
        self._under_way[message_id] = task
        self._sent[message_id] = channel, time.monotonic()
        task.add_done_callback(lambda done: self._ended(message_id, done))
        return task

    def _ended(self, message_id: str, task: asyncio.Task[object]) -> None:
        self._under_way.pop(message_id, None)
        self._sent.pop(message_id, None)
        if not task.cancelled() and task.exception() is None:
            self._confirms.came()

    def _look_at_refusal(self, task: asyncio.Task[object], channel: AbstractChannel) -> None:
        error = None if task.cancelled() else task.exception()
        if not isinstance(error, DeliveryError):
            return
        if isinstance(error, PublishError):
            if self._counts:  # the channel has counted it, and the stream never saw it
                self._replace(channel, after=self._on(channel))
            return
        is_due = channel is self._channel and time.monotonic() - self._opened_at >= REFUSED_SECONDS
        if not self._confirms.were_refusals() and is_due:
            log.info("another channel instead of one that refuses", action="publisher_refused")
            self._replace(channel, after=self._on(channel))

    def _on(self, channel: AbstractChannel) -> list[asyncio.Task[object]]:
        """What is under way on a channel."""
        return [self._under_way[sent] for sent, (on, _) in self._sent.items() if on is channel]

    def _replace(self, channel: AbstractChannel, after: Collection[asyncio.Task[object]] = ()) -> None:
        """Give a channel up; it is closed once these publishes have ended, or after a while."""
        if channel is self._channel:
            self._channel = None
        if channel in self._goodbyes:
            return

        async def close() -> None:
            if after:
                await asyncio.wait(after, timeout=WEDGED_SECONDS)
            await close_quietly(channel)

        self._goodbyes[channel] = asyncio.create_task(close(), name="goodbye of a channel that is given up")
        self._goodbyes[channel].add_done_callback(lambda _: self._goodbyes.pop(channel, None))

    def _lose(self, channel: AbstractChannel) -> None:
        """A channel turned out to be closed."""
        if channel is self._channel:
            self._channel = None
            self._confirms.begin_anew()

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
            if self._channel is not None and self._channel.is_closed:
                self._lose(self._channel)
            if self._channel is None:
                self._channel = await self._link.channel(within_seconds=limit_seconds, on_return_raises=True)
                self._opened_at = time.monotonic()
            return self._channel
