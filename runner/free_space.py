"""Whether there is room on the disk for more work."""

import os
from collections.abc import Callable
from pathlib import Path

import structlog

log = structlog.get_logger()

#: Free bytes of the file system that a path is on, as far as this process may use them.
FreeBytes = Callable[[Path], int]


def free_bytes(path: Path) -> int:
    """What the system says.

    Raises:
        OSError: it can't say.
    """
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


class FreeSpace:
    """Looks whenever it is asked. A program that is taken needs room in the journal until its end has been told."""

    def __init__(self, path: Path, least_bytes: int, *, free_bytes: FreeBytes = free_bytes) -> None:
        """``least_bytes`` is how much must be free on the file system of ``path``; 0 turns it off."""
        self._path = path
        self._least_bytes = least_bytes
        self._free_bytes = free_bytes
        self._was_short = False

    @property
    def problem(self) -> str | None:
        """What is wrong, for people; ``None`` where there is room."""
        if self._least_bytes == 0:
            return None
        problem = self._look()
        if problem is not None and not self._was_short:
            log.error("taking no work until there is room", action="disk_short", problem=problem)
        elif problem is None and self._was_short:
            log.info("there is room again", action="disk_has_room", path=str(self._path))
        self._was_short = problem is not None
        return problem

    def _look(self) -> str | None:
        try:
            free = self._free_bytes(self._path)
        except OSError as error:
            return f"the disk of {self._path} can't be looked at: {error.strerror}"
        if free >= self._least_bytes:
            return None
        mebibytes = (free // 2**20, -(-self._least_bytes // 2**20))
        return f"the disk of {self._path} has {mebibytes[0]} MiB free, and {mebibytes[1]} MiB are needed to take work"
