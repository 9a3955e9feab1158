"""A lock that belongs to one process on this host."""

import fcntl
import os
from pathlib import Path


class FileLock:
    """Keeps other processes from what a file stands for. The system takes it away from a process that dies."""

    def __init__(self, path: Path) -> None:
        """Take the lock, making the file where there is none.

        Raises:
            BlockingIOError: somebody else has it.
            OSError: the file can't be used.
        """
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let others have it. Safe to repeat."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
