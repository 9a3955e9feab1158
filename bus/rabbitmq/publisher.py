"""Confirmed publishing."""

import asyncio

import structlog
from aio_pika import Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelInvalidStateError, DeliveryError, PublishError

from bus.errors import BusUnavailable, Unroutable
from bus.rabbitmq.calls import CLIENT_ERRORS, describe
from bus.rabbitmq.connection import Link

log = structlog.get_logger()

#: Publishes that may wait for their confirm; above it nothing more is sent.
MOST_UNCONFIRMED = 2_000


class Publisher:
    """Publishes on one channel; every message is mandatory and confirmed."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        #: By message id: two messages of one id must not be under way at once. The library tells returned ones apart by it
        #: alone, and would take the broker's refusal of the one for that of the other.
        self._under_way: dict[str, asyncio.Task[object]] = {}
        self._stalled = False

    @property
    def problem(self) -> str | None:
        """What is wrong with publishing now; ``None`` where nothing is."""
        return "RabbitMQ does not confirm what is published (memory or disk alarm?)" if self._stalled else None

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
                    if self._was_sent(task):
                        return
                    under_way = False
                    self._channel = None
        except TimeoutError as error:
            if under_way:
                self._stalled = True
                raise BusUnavailable(f"RabbitMQ did not confirm within {limit_seconds:g} s", outcome_unknown=True) from error
            raise BusUnavailable(self._link.problem or "RabbitMQ does not answer") from error

    async def close(self) -> None:
        """Wait for nothing more: what is under way ends with the connection."""
        for task in self._under_way.values():
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way.values())

    def _start(
        self, channel: AbstractChannel, exchange: str, key: str, message: Message, message_id: str
    ) -> asyncio.Task[object]:
        async def publish() -> object:
            target = channel.default_exchange if exchange == "" else await channel.get_exchange(exchange, ensure=False)
            return await target.publish(message, key, mandatory=True)

        task: asyncio.Task[object] = asyncio.create_task(publish(), name=f"publish {message_id}")
        self._under_way[message_id] = task
        task.add_done_callback(lambda done: self._ended(message_id, done))
        return task

    def _ended(self, message_id: str, task: asyncio.Task[object]) -> None:
        self._under_way.pop(message_id, None)
        if not task.cancelled() and task.exception() is None:
            if self._stalled:
                log.info("RabbitMQ confirms again", action="bus_confirms_again")
            self._stalled = False

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
        if isinstance(error, CLIENT_ERRORS):
            raise BusUnavailable(f"publishing failed: {describe(error)}", outcome_unknown=True) from error
        raise error

    async def _open_channel(self, limit_seconds: float) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                self._stalled = False
                self._channel = await self._link.channel(within_seconds=limit_seconds, on_return_raises=True)
            return self._channel
