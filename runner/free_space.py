"""Whether there is room on the disks for more work."""

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

    def at(self, path: Path) -> "FreeSpace":
        """The same limit for another disk."""
        return FreeSpace(path, self._least_bytes, free_bytes=self._free_bytes)

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


class Room:
    """Room for one more program: on the disk of the runner's own files, and on the engine's where that is seen from here."""

    def __init__(self, own: FreeSpace, engine_root: Callable[[], Path | None]) -> None:
        """``engine_root`` says where the engine keeps containers and images, as far as it has told."""
        self._own = own
        self._engine_root = engine_root
        self._engines: tuple[Path, FreeSpace] | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong, for people; ``None`` where there is room."""
        return self._own.problem or self._engine_problem()

    def _engine_problem(self) -> str | None:
        root = self._engine_root()
        if root is None or not _is_seen(root):
            return None
        if self._engines is None or self._engines[0] != root:
            self._engines = root, self._own.at(root)
        return self._engines[1].problem


def _is_seen(path: Path) -> bool:
    # The engine may be on another machine, or this process in a container.
    try:
        return path.is_dir()
    except OSError:
        return False
