"""How much memory a process has needed."""

import gc
import os
import sys
from pathlib import Path


def forget_peak(pid: int) -> int:
    """Measure from now on; the resident bytes that it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return _of(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """The most resident bytes that it had at any moment since."""
    return _of(pid, "VmHWM")


def _of(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{name}:"))


def live_objects() -> int:
    """Pieces of memory that Python has handed out in this process and that are in use: whatever is kept is made of them."""
    gc.collect()
    return sys.getallocatedblocks()


def resident_bytes() -> int:
    """Of this process, now."""
    return _of(os.getpid(), "VmRSS")
