"""One command in the hands of this process."""

from collections.abc import Awaitable, Callable

from aiormq.abc import DeliveredMessage

from bus import topology
from bus.errors import BusUnavailable
from bus.messages import Message, Source
from bus.rabbitmq.consumer import ack, give_back
from bus.rabbitmq.envelope import from_amqp

#: A way to settle a delivery.
Settling = Callable[[DeliveredMessage], Awaitable[None]]
#: What is called with the reason.
Bury = Callable[[str], Awaitable[None]]


class RabbitDelivery:
    """Keeps the promises of :class:`bus.ports.Delivery`. Settling it again does nothing."""

    def __init__(self, delivered: DeliveredMessage, settle: Callable[[Settling], Awaitable[None]], bury: Bury) -> None:
        """``settle`` settles it in that way, and ``bury`` puts a copy into the dead letters."""
        self._delivered = delivered
        self._settle = settle
        self._bury = bury
        self._message = from_amqp(delivered)
        self._settled = False

    @property
    def message(self) -> Message:
        """The command."""
        return self._message

    @property
    def source(self) -> Source:
        """Where it came in, as the broker says, who keeps it over a return to the queue."""
        by_holder = self._delivered.exchange == topology.REPORTS and (self._delivered.routing_key or "").startswith(
            topology.RETRY_KEYS
        )
        return Source.REPORTS if by_holder else Source.COMMANDS

    async def done(self) -> None:
        """Settle it for good."""
        if not self._settled:
            self._settled = True
            await self._settle(ack)

    async def reject(self, reason: str) -> None:
        """Move it to the dead letters. Where they can't be reached it is given back, and comes again."""
        if self._settled:
            return
        try:
            await self._bury(reason)
        except BusUnavailable:
            await self.give_back()
            raise
        await self.done()

    async def give_back(self) -> None:
        """Let another runner have it."""
        if not self._settled:
            self._settled = True
            await self._settle(give_back)
