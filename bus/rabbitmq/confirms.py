"""Whether the server confirms what is published, whatever channel it goes over."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()

#: Seconds without any confirm after which a node of a cluster is no good: longer than the others take to go on without it.
STALL_SECONDS = 12.0


class Confirms:
    """What is known of the server from its confirms and refusals."""

    def __init__(self, on_stall: Callable[[str], None]) -> None:
        """``on_stall`` hears that the server is there, but confirms or takes nothing any more: other nodes may."""
        self._on_stall = on_stall
        #: Monotonic time since which nothing is confirmed; ``None`` where all is well.
        self._stalled_at: float | None = None
        #: Monotonic time since which all was refused; ``None`` where something was not.
        self._refused_at: float | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong with publishing now; ``None`` where nothing is."""
        return "RabbitMQ does not confirm what is published (memory or disk alarm?)" if self._stalled_at is not None else None

    def came(self) -> None:
        """Something was confirmed."""
        if self._stalled_at is not None:
            log.info("RabbitMQ confirms again", action="bus_confirms_again")
        self._stalled_at = self._refused_at = None

    def are_missing(self) -> float:
        """Something was not confirmed in time; monotonic time since which nothing was."""
        self._stalled_at = self._stalled_at or time.monotonic()
        return self._stalled_at

    def look_for_others(self, since: float) -> None:
        """Nothing was confirmed since then, and the server has not said why."""
        if time.monotonic() - since > STALL_SECONDS:
            # A node that the others have left behind answers everything, and confirms nothing.
            self._on_stall(f"nothing was confirmed for {STALL_SECONDS:g} s")

    def were_refusals(self) -> bool:
        """Something was refused; true where that has been so for long, and other nodes were asked for."""
        now = time.monotonic()
        self._refused_at = self._refused_at or now
        if now - self._refused_at <= STALL_SECONDS:
            return False
        self._refused_at = None
        self._on_stall(f"all was refused for {STALL_SECONDS:g} s")
        return True

    def begin_anew(self) -> None:
        """It is another connection, perhaps to another node."""
        self._stalled_at = None
