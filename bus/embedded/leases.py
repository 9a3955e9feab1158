"""Leases on the embedded bus: the one runner is in this process."""

from collections.abc import AsyncGenerator, AsyncIterator

from bus.attendance import Attendance
from bus.embedded.tide import Tide
from bus.messages import Lease
from bus.roster import Roster


class EmbeddedLeases:
    """Keeps the promises of :class:`bus.ports.Leases`. Nothing is written: who asks is there only while the runner is."""

    def __init__(self) -> None:
        self._roster = Roster()
        self._closed = Tide()

    async def keep(self, lease: Lease) -> None:
        """Say that the runner is there."""
        self._roster.hear(lease)

    async def follow(self) -> None:
        """Nothing is to be read: it was heard when it was said."""
        await self._closed.above(0)

    def live(self) -> list[Lease]:
        """The runner's lease, while it holds."""
        return self._roster.live()

    async def rival_of(self, lease: Lease) -> Lease | None:
        """Nobody else is there."""
        await self.keep(lease)
        return None

    def ticks(self, seconds: float) -> AsyncIterator[Attendance]:  # noqa: ARG002 - see the port
        """None come: whoever is gone comes back, and takes up what it had."""
        return self._none()

    async def _none(self) -> AsyncGenerator[Attendance, None]:
        await self._closed.above(0)
        yield Attendance("")

    def close(self) -> None:
        """Whoever follows gets BusClosed."""
        self._closed.close()
