"""Moments that another process on this machine understands, by a clock that nobody can set."""

import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Moment(BaseModel):
    """A point in time since the machine was started."""

    model_config = ConfigDict(frozen=True)

    #: Names one uptime of the machine.
    boot_id: str
    #: Seconds of the monotonic clock.
    seconds: float

    @classmethod
    def now(cls) -> "Moment":
        """This moment."""
        return cls(boot_id=_boot_id(), seconds=time.monotonic())

    def seconds_ago(self) -> float | None:
        """Seconds that have passed since; ``None`` where the machine was started anew meanwhile, and nothing runs any more."""
        return time.monotonic() - self.seconds if self.boot_id == _boot_id() else None


def _boot_id() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()


def uptime_seconds() -> float:
    """Seconds since the machine was started, those that it slept among them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
