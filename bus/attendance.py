"""Who has fallen silent, by the order of leases and ticks in their stream. Pure: no clock but that order.

What stops the stream, be it an outage or a holder that is frozen, stops the ticks too, and so takes nobody for lost.
"""

import math
from dataclasses import dataclass

import structlog

from bus.messages import LEASES_A_TTL, Lease, Tick

log = structlog.get_logger()

#: Epochs that are kept in mind.
MOST_EPOCHS = 10_000


@dataclass(frozen=True, slots=True)
class _Heard:
    runner_id: str
    ttl_seconds: float
    #: Ticks that had been counted by then.
    at: int


class Attendance:
    """What one holding of the lock has read. Only its own ticks count, and only those in a row."""

    def __init__(self, holder: str) -> None:
        self._holder = holder
        self._heard: dict[str, _Heard] = {}
        self._ticks = 0
        self._seconds = 1.0
        #: Where counting began.
        self._since = 0

    @property
    def ticks(self) -> int:
        """How many of its own ticks were read."""
        return self._ticks

    def hear(self, lease: Lease) -> None:
        """The next record is a lease."""
        # The newest at the end, the longest silent in front.
        self._heard.pop(lease.epoch, None)
        self._heard[lease.epoch] = _Heard(lease.runner_id, lease.ttl_seconds, self._ticks)
        if len(self._heard) > MOST_EPOCHS:
            forgotten = next(iter(self._heard))
            del self._heard[forgotten]
            log.warning("too many epochs to keep in mind", action="attendance_full", epoch=forgotten)

    def tick(self, tick: Tick) -> None:
        """The next record is a tick."""
        if tick.holder != self._holder:
            # Two who count: what one of them has missed of the leases, nobody can tell. It begins anew.
            self._since = self._ticks
        elif tick.number == self._ticks + 1:  # else it was written twice
            self._ticks = tick.number
            self._seconds = tick.seconds

    def is_silent(self, epoch: str) -> bool:
        """Whether the time of the epoch's last lease has passed since it was read; or, where none was, that of a usual one."""
        heard = self._heard.get(epoch)
        since = self._since if heard is None else max(heard.at, self._since)
        wanted = LEASES_A_TTL if heard is None else math.ceil(heard.ttl_seconds / self._seconds - 1e-6)
        return self._ticks - since >= wanted

    def runner_of(self, epoch: str) -> str | None:
        """Who wrote the epoch's last lease, where one was read."""
        heard = self._heard.get(epoch)
        return None if heard is None else heard.runner_id
