"""Whether this runner may act: whether it is sure that nobody has given it up meanwhile."""

import asyncio
from collections.abc import Callable

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable, Fenced
from bus.ports import Epochs
from runner.boot_clock import uptime_seconds
from runner.journal import Journal

log = structlog.get_logger()


class Standing:
    """Sure as long as leases follow each other closely. After a gap, be it that the runner was frozen or that it was cut off,
    all that was said meanwhile is read first: it may have been fenced.

    What is not covered is a fence that comes between the question and what is done upon the answer; who hears of it undoes it.
    """

    def __init__(
        self,
        epochs: Epochs,
        journal: Journal,
        *,
        ttl_seconds: float,
        clock: Callable[[], float] = uptime_seconds,
    ) -> None:
        """``ttl_seconds`` is for how long a lease is good."""
        self._epochs = epochs
        self._journal = journal
        self._sure_seconds = ttl_seconds / 2
        self._clock = clock
        #: When the last lease that is on the bus was begun.
        self._kept_at = float("-inf")
        self._gaps = 0
        #: Whether all was read that had been said by the lease after the last gap.
        self._has_caught_up = False
        self._over: str | None = None
        self._changed = asyncio.Event()

    def kept(self, begun_at: float) -> None:
        """A lease is on the bus, the writing of which was begun at this time of the clock."""
        if self._clock() - self._kept_at >= self._sure_seconds:
            self._gaps += 1
            self._has_caught_up = False
        self._kept_at = begun_at
        self._wake()

    def now(self) -> float:
        """The clock's time, for :meth:`kept`."""
        return self._clock()

    def end(self, epoch: str) -> None:
        """The epoch is over: nothing is to be done under it any more."""
        self._over = epoch
        self._wake()

    def is_over(self, epoch: str) -> bool:
        """Whether nothing is to be done under this epoch any more, as far as it is known here."""
        return epoch == self._over or epoch != self._journal.epoch

    def renewed(self) -> None:
        """The journal has another epoch."""
        self._wake()

    async def until_renewed(self, epoch: str) -> None:
        """Wait until the journal has another epoch than this one, which is over."""
        while self._journal.epoch == epoch:
            await self._changed.wait()

    async def sure(self, epoch: str) -> None:
        """Wait until it is sure that the epoch is not over.

        Raises:
            Fenced: it is.
        """
        while True:
            if self.is_over(epoch):
                raise Fenced(epoch)
            if self._has_caught_up and self._clock() - self._kept_at < self._sure_seconds:
                return
            await self._changed.wait()

    async def run(self) -> None:
        """Catch up after each gap, for ever."""
        backoff = Backoff()
        while True:
            if self._has_caught_up or self._gaps == 0:
                await self._changed.wait()
                continue
            gaps, epoch = self._gaps, self._journal.epoch
            try:
                await self._epochs.catch_up()
                if await self._epochs.is_fenced(epoch):
                    self.end(epoch)
            except BusUnavailable as error:
                log.warning("not sure to be among the living", action="standing_unknown", error=str(error))
                await backoff.pause()
                continue
            backoff.reset()
            # With another gap meanwhile it is to be done again.
            self._has_caught_up = gaps == self._gaps
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
