"""Who is there, from leases in the order of their stream. Pure, but for the reader's own clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from bus.messages import LEASE_SECONDS, Lease

log = structlog.get_logger()

#: Runners that are kept in mind.
MOST_RUNNERS = 10_000
#: Seconds that a writer's next lease may move the stream's time, at most: a clock that was set moves it no further.
_LONGEST_STEP_SECONDS = 2 * LEASE_SECONDS


@dataclass(frozen=True, slots=True)
class _Heard:
    lease: Lease
    #: By the reader's monotonic clock, in seconds.
    read_at: float
    #: By the stream's time, in seconds.
    stream_at: float


class Roster:
    """The newest lease of each runner.

    A lease has run out when its time has passed since it was read, by the reader's own clock. For one that was read long after
    it was written (by a gateway that has just started, or was cut off) that is not enough: the runner may have died meanwhile.
    So the stream has a time of its own, which passes as fast as any writer says by two of its own leases. A clock is compared
    with itself alone, and nobody's needs to be right.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._stream_seconds = 0.0

    def hear(self, lease: Lease) -> None:
        """The next lease of the stream."""
        if (earlier := self._heard.get(lease.runner_id)) is not None:
            step = (lease.written_at - earlier.lease.written_at).total_seconds()
            passed = earlier.stream_at + min(step, _LONGEST_STEP_SECONDS)
            self._stream_seconds = max(self._stream_seconds, passed)
        elif len(self._heard) >= MOST_RUNNERS:
            self._forget()
            if len(self._heard) >= MOST_RUNNERS:
                log.warning("too many runners to keep in mind", action="roster_full", runner_id=lease.runner_id)
                return
        self._heard[lease.runner_id] = _Heard(lease, self._clock(), self._stream_seconds)

    def live(self) -> list[Lease]:
        """Those that have not run out and do not leave, by runner id."""
        return [heard.lease for _, heard in sorted(self._heard.items()) if self._holds(heard) and not heard.lease.leaves]

    def _holds(self, heard: _Heard) -> bool:
        unheard_for = max(self._clock() - heard.read_at, self._stream_seconds - heard.stream_at)
        return unheard_for < heard.lease.ttl_seconds

    def _forget(self) -> None:
        self._heard = {runner_id: heard for runner_id, heard in self._heard.items() if self._holds(heard)}
