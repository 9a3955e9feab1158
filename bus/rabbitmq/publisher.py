"""Confirmed publishing."""

import asyncio
from collections.abc import Callable

from aio_pika import Message

from bus import topology
from bus.rabbitmq.confirms import Confirms
from bus.rabbitmq.connection import Link
from bus.rabbitmq.lane import Lane


class Publisher:
    """Publishes; every message is mandatory and confirmed. What goes to different streams goes over different channels.

    In RabbitMQ 3 (until 4.0) a channel numbers what it was given, and apart from that what it passed on to each stream. When a
    stream's leader changes, what was not confirmed is sent to the new one under the first number in place of the second
    (``rabbit_stream_queue:resend_all/1``). From there on the new leader takes what follows for repeats, until the second number
    has caught up with the first: it is confirmed, and not stored. Where all that a channel is given goes to one stream the two
    numbers are the same.
    """

    def __init__(self, link: Link, on_stall: Callable[[str], None]) -> None:
        """``on_stall`` hears that the server is there, but confirms nothing any more: other nodes may."""
        self._link = link
        self._confirms = Confirms(on_stall)
        #: By name of the stream that takes what is published; empty for what goes to none.
        self._lanes: dict[str, Lane] = {}

    @property
    def problem(self) -> str | None:
        """What is wrong with publishing now; ``None`` where nothing is."""
        return self._confirms.problem

    async def publish(self, exchange: str, key: str, message: Message, *, limit_seconds: float) -> None:
        """Publish; the broker has the message durably when this returns. If the caller is cancelled, the publish goes on.

        Raises:
            Unroutable: no queue is bound there; nobody got it.
            BusUnavailable: with ``outcome_unknown`` where somebody may have got it all the same.
        """
        stream = topology.stream_behind(exchange, key)
        if (lane := self._lanes.get(stream)) is None:
            lane = self._lanes[stream] = Lane(self._link, self._confirms, counts=bool(stream))
        await lane.publish(exchange, key, message, limit_seconds=limit_seconds)

    async def close(self) -> None:
        """Wait for nothing more: what is under way ends with the connection."""
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))
