"""Announcements on RabbitMQ."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable
from bus.messages import Announcement
from bus.ports import Holder
from bus.rabbitmq.connection import Link
from bus.rabbitmq.holder import RabbitHolder, StillWaiting
from bus.rabbitmq.nodes import Nodes
from bus.rabbitmq.subscription import Subscription

log = structlog.get_logger()


class RabbitAnnouncements:
    """Keeps the promises of :class:`bus.ports.Announcements`."""

    def __init__(self, nodes: Nodes, name: str, consuming: Link, closing: asyncio.Event) -> None:
        """``closing`` is set when the bus is closed: then nobody waits for the lock any more."""
        self._nodes = nodes
        self._name = name
        self._consuming = consuming
        self._closing = closing

    @asynccontextmanager
    async def hold(self) -> AsyncGenerator[Holder, None]:
        """Wait for the lock and hold it inside the context."""
        holder = await self._wait_for_lock()
        renewing = asyncio.create_task(holder.renew(), name="renewal of the checkpoint")
        try:
            yield holder
        finally:
            renewing.cancel()
            await holder.release()

    @asynccontextmanager
    async def subscribe(
        self, patterns: list[str], *, name: str | None = None
    ) -> AsyncGenerator[AsyncIterator[Announcement], None]:
        """Announcements that match, from entering the context on."""
        subscription = Subscription(self._consuming, patterns, name)
        try:
            await subscription.open()
            yield subscription
            # Left in order: the last one was dealt with. Left by an error, it comes again.
            await subscription.settle()
        finally:
            await subscription.close()

    async def _wait_for_lock(self) -> RabbitHolder:
        backoff = Backoff()
        while True:
            try:
                return await RabbitHolder.wait(self._nodes, f"{self._name} announcer", self._closing)
            except StillWaiting:
                backoff.reset()
                continue
            except BusUnavailable as error:
                log.warning("can't wait for the announcer's lock", action="announcer_lock_failed", error=str(error))
            await backoff.pause()
