"""What the kernel says of processes."""

import asyncio
import os
import time
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_LOOK_SECONDS = 0.25


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    # After the name, which may hold anything, in parentheses.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def parent(pid: int) -> int:
    """Of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


def pss_bytes(pid: int) -> int:
    """Memory of a process, with its share of what it shares.

    Raises:
        PermissionError: that is somebody else's.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


async def until_quiet(pid: int, *, within_seconds: float, share: float = 0.08) -> bool:
    """Wait until a process uses less than this share of one processor; false where it did not in time."""
    deadline = time.monotonic() + within_seconds
    before = cpu_seconds(pid)
    while time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_SECONDS)
        now = cpu_seconds(pid)
        if (now - before) / _LOOK_SECONDS < share:
            return True
        before = now
    return False
