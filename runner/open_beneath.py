"""Opening what lies beneath a folder that somebody else can write to, without being led out of it."""

import errno
import os
from pathlib import PurePosixPath

#: As many links as Linux itself follows in one path.
_MOST_LINKS = 40


def open_beneath(root: int, relative: str) -> int:
    """Open a path beneath the directory ``root`` for reading, following links only where they stay beneath it.

    Each part is opened from its parent and never through a link, so swapping a part for a link while this runs gains nothing.
    Blocks on no FIFO.

    Raises:
        OSError: it does not exist, can't be read, or leads out of the directory (``EXDEV``).
    """
    parents: list[int] = []  # the directories entered so far, the innermost last
    links = 0
    parts = list(reversed(PurePosixPath(relative).parts))
    try:
        while parts:
            part = parts.pop()
            if part == "/":
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), relative)
            if part == "..":
                if not parents:
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), relative)
                os.close(parents.pop())
                continue
            here = parents[-1] if parents else root
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            if parts:
                flags |= os.O_DIRECTORY
            try:
                opened = os.open(part, flags, dir_fd=here)
            except OSError as error:
                # A link is told by ELOOP, or by ENOTDIR where a directory was asked for.
                target = _link_target(part, here) if error.errno in (errno.ELOOP, errno.ENOTDIR) else None
                if target is None:
                    raise
                links += 1
                if links > _MOST_LINKS:
                    raise
                parts.extend(reversed(PurePosixPath(target).parts))
                continue
            if not parts:
                return opened
            parents.append(opened)
        # The path ended in "..": what it names is the directory we stand in.
        return os.open(".", os.O_RDONLY | os.O_CLOEXEC, dir_fd=parents[-1] if parents else root)
    finally:
        for descriptor in parents:
            os.close(descriptor)


def _link_target(part: str, directory: int) -> str | None:
    try:
        return os.readlink(part, dir_fd=directory)
    except OSError:
        return None
