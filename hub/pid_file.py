"""One process per part and state directory: a locked file that says which."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hub.errors import AlreadyRunning


@contextmanager
def pid_file(path: Path) -> Iterator[None]:
    """Hold ``path``, with this process's id in it, inside the context.

    The lock decides, not the content: it goes with the process however that ends, and an id is used again.

    Raises:
        AlreadyRunning: another process holds it.
    """
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise AlreadyRunning(path, file.read().strip()) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)
