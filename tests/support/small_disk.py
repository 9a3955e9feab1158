"""A disk of a few MiB, which a test can fill."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.free_space import free_bytes

_MEBIBYTE = 1024 * 1024


class SmallDisk:
    """A file system in memory, mounted on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    @property
    def free_bytes(self) -> int:
        """What is left of it."""
        return free_bytes(self.folder)

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Take all but so many bytes; what others free meanwhile too, where nothing is left."""
        with self._filler.open("ab") as filler:
            while (room := self.free_bytes - leave_bytes) > 0:
                try:
                    filler.write(b"\0" * min(room, _MEBIBYTE))
                    filler.flush()
                except OSError:
                    return

    def empty(self) -> None:
        """Give back what was taken."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, *, mebibytes: int = 20) -> Iterator[SmallDisk]:
    """Mount it on a folder, which takes root's rights; gone in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: a process that a failed test left behind must not keep the folder from being removed.
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
