"""A consumer on one channel."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiormq.abc
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage
from pamqp import commands as spec

from bus.errors import BusUnavailable
from bus.rabbitmq.calls import CALL_LIMIT_SECONDS, bounded, describe, is_client_error


class Consumer:
    """Receives deliveries until it is cancelled or lost.

    ``on_message`` is called in the order of the queue, and before anything that the broker says later is acted on: once
    :meth:`cancel` has returned, no message comes any more. That is why this does not use the library's ``Queue.consume``, which
    calls back one turn of the loop later.
    """

    def __init__(
        self,
        channel: aiormq.abc.AbstractChannel,
        on_message: Callable[[DeliveredMessage], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._on_message = on_message
        self._on_lost = on_lost
        self._tag: str | None = None
        self._live = True
        self._channel_closing = channel.closing
        self._channel_closing.add_done_callback(lambda _: self._lose())

    @classmethod
    async def start(
        cls,
        channel: AbstractChannel,
        queue: str,
        *,
        prefetch: int,
        on_message: Callable[[DeliveredMessage], None],
        on_lost: Callable[[], None],
        arguments: dict[str, Any] | None = None,
    ) -> "Consumer":
        """Consume. The broker pushes at most ``prefetch`` messages that were not settled.

        Raises:
            BusUnavailable: the broker did not agree.
        """
        underlay = await channel.get_underlay_channel()
        await bounded(underlay.basic_qos(prefetch_count=prefetch), CALL_LIMIT_SECONDS, "setting the prefetch")
        consumer = cls(underlay, on_message, on_lost)
        underlay.on_consumer_cancel_callbacks.add(consumer._on_broker_cancel)
        started = bounded(
            underlay.basic_consume(queue, consumer._deliver, arguments=arguments), CALL_LIMIT_SECONDS, f"consuming {queue}"
        )
        try:
            consumer._tag = (await started).consumer_tag
        except BaseException:
            consumer._end()
            raise
        return consumer

    @property
    def live(self) -> bool:
        """Whether messages may still come."""
        return self._live

    async def cancel(self) -> None:
        """Stop; deliveries in hand stay valid. Safe to repeat.

        Raises:
            BusUnavailable: the broker did not agree, so more may come: close the channel.
        """
        if self._live and self._tag is not None:
            await bounded(self._channel.basic_cancel(self._tag), CALL_LIMIT_SECONDS, "cancelling a consumer")
        self._end()

    async def _deliver(self, message: DeliveredMessage) -> None:
        self._on_message(message)

    def _on_broker_cancel(self, frame: spec.Basic.CancelOk | spec.Basic.Cancel) -> None:
        if frame.consumer_tag == self._tag:
            self._lose()

    def _lose(self) -> None:
        if self._live:
            self._end()
            self._on_lost()

    def _end(self) -> None:
        self._live = False
        self._channel_closing.cancel()
        # Not at once: the library may be going through these callbacks, of which this is one.
        asyncio.get_running_loop().call_soon(self._channel.on_consumer_cancel_callbacks.discard, self._on_broker_cancel)


async def ack(message: DeliveredMessage, *, multiple: bool = False) -> None:
    """Settle a delivery for good.

    Raises:
        BusUnavailable: its channel is gone; the broker delivers it again.
    """
    await _send(message.channel.basic_ack(_tag(message), multiple=multiple, wait=False), "acknowledging")


async def give_back(message: DeliveredMessage) -> None:
    """Return a delivery to its queue.

    Raises:
        BusUnavailable: its channel is gone; the broker delivers it again anyway.
    """
    await _send(message.channel.basic_nack(_tag(message), requeue=True, wait=False), "giving back")


async def _send(sending: Awaitable[None], doing: str) -> None:
    # The broker answers neither. What is waited for is a place in the connection's line of frames, where a dead peer keeps
    # all of them.
    try:
        async with asyncio.timeout(CALL_LIMIT_SECONDS):
            await sending
    except TimeoutError as error:
        raise BusUnavailable(f"{doing} took longer than {CALL_LIMIT_SECONDS:g} s") from error
    except Exception as error:
        if not is_client_error(error):
            raise
        raise BusUnavailable(f"{doing} failed: {describe(error)}") from error


def _tag(message: DeliveredMessage) -> int:
    tag = message.delivery_tag
    if tag is None:
        raise BusUnavailable("a delivery without a tag can't be settled")
    return tag
