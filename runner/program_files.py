"""What lies in a program's folder. The program can write there, so nothing is opened by following a link out of it."""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path, PurePosixPath

from dotenv import dotenv_values

from runner.errors import CannotRun
from schemas.programs import Program
from schemas.reasons import Reason

#: The files that are looked for where ``main_file`` is missing, in this order.
ALTERNATIVES = ("main.py", "run.py", "app.py", "index.py")

_ENV_FILE = ".env"
_LONGEST_ENV_FILE = 1024 * 1024
#: As many links as Linux itself follows in one path.
_MOST_LINKS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramFiles:
    """The facts about a program's folder that decide how it is run."""

    #: The folder, absolute, as this process sees it.
    folder: Path
    #: Whether ``main_file`` is a file beneath the folder.
    main_file_exists: bool
    #: The first of :data:`ALTERNATIVES` that is there.
    alternative: str | None = None
    #: User and group id of the folder's owner; ``None`` where that is root.
    owner: tuple[int, int] | None = None
    #: What ``.env`` sets; never shown.
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


def gather(program: Program, project_dir: Path, out_of_bounds: Sequence[Path] = ()) -> ProgramFiles:
    """Look into the program's folder. Blocks: call it in a thread.

    Raises:
        CannotRun: the folder is missing, a path leads out of it, ``.env`` can't be read, or the folder holds one of the paths
            ``out_of_bounds``, which the program could then use.
    """
    folder = folder_of(program, project_dir)
    real_folder = os.path.realpath(folder)
    if any(Path(os.path.realpath(path)).is_relative_to(real_folder) for path in out_of_bounds):
        raise CannotRun(
            Reason.INVALID_PATH,
            f"The folder '{program.path}' of program '{program.id}' holds the hub's own state or Docker's socket, which would"
            " be the program's too: give the program a folder of its own",
        )
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CannotRun(
            Reason.INVALID_PATH,
            f"The folder '{program.path}' of program '{program.id}' can't be opened: {os.strerror(error.errno or 0)}",
        ) from error
    try:
        main_file = PurePosixPath(program.main_file)
        if main_file.is_absolute() or ".." in main_file.parts:
            raise CannotRun(
                Reason.INVALID_PATH,
                f"main_file '{program.main_file}' of program '{program.id}' must be relative and lie in the program's folder",
            )
        return ProgramFiles(
            folder=folder,
            main_file_exists=_is_file(root, program.main_file),
            alternative=next((name for name in ALTERNATIVES if _is_file(root, name)), None),
            owner=_owner(root),
            env=_read_env(root, program),
        )
    finally:
        os.close(root)


def folder_of(program: Program, project_dir: Path) -> Path:
    """The program's folder, absolute: beneath the project's folder where its path is relative."""
    return Path(os.path.normpath(project_dir.absolute() / program.path))


def _is_file(root: int, name: str) -> bool:
    try:
        descriptor = open_beneath(root, name)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def _owner(root: int) -> tuple[int, int] | None:
    status = os.fstat(root)
    return None if status.st_uid == 0 else (status.st_uid, status.st_gid)


def _read_env(root: int, program: Program) -> dict[str, str]:
    try:
        descriptor = open_beneath(root, _ENV_FILE)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CannotRun(
            Reason.INVALID_PATH,
            f"'{_ENV_FILE}' of program '{program.id}' can't be opened: {os.strerror(error.errno or 0)}",
        ) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):  # a virtual environment by that name is no mistake
            return {}
        if not stat.S_ISREG(mode):
            raise CannotRun(Reason.INVALID_PATH, f"'{_ENV_FILE}' of program '{program.id}' is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(_LONGEST_ENV_FILE + 1)
    finally:
        os.close(descriptor)
    if len(content) > _LONGEST_ENV_FILE:
        raise CannotRun(Reason.INVALID_PATH, f"'{_ENV_FILE}' of program '{program.id}' is longer than a megabyte")
    return parse_env(content, program.id)


def parse_env(content: bytes, program_id: str) -> dict[str, str]:
    """The variables of a ``.env`` file, by python-dotenv's rules: no interpolation, a bare ``KEY`` is skipped.

    Raises:
        CannotRun: it is not UTF-8 text, or a value has a NUL byte.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CannotRun(Reason.INVALID_PATH, f"'{_ENV_FILE}' of program '{program_id}' is not UTF-8 text") from error
    if "\0" in text:
        raise CannotRun(Reason.INVALID_PATH, f"'{_ENV_FILE}' of program '{program_id}' has a NUL byte")
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if name and "=" not in name and value is not None}


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
