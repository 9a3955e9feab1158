"""What lies in a program's folder. The program can write there, so nothing is opened by following a link out of it."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path, PurePosixPath

from dotenv import dotenv_values

from runner.errors import CannotRun
from runner.open_beneath import open_beneath
from runner.requirement_files import RequirementFiles, read_requirements
from schemas.programs import Program
from schemas.reasons import Reason

#: The files that are looked for where ``main_file`` is missing, in this order.
ALTERNATIVES = ("main.py", "run.py", "app.py", "index.py")

_ENV_FILE = ".env"
_LONGEST_ENV_FILE = 1024 * 1024


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
    #: What its ``requirements.txt`` asks for.
    requirements: RequirementFiles | None = None
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
            _reason_of(error),
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
            requirements=read_requirements(root, f"program '{program.id}'"),
            env=_read_env(root, program),
        )
    finally:
        os.close(root)


def folder_of(program: Program, project_dir: Path) -> Path:
    """The program's folder, absolute: beneath the project's folder where its path is relative."""
    return Path(os.path.normpath(project_dir.absolute() / program.path))


def _reason_of(error: OSError) -> Reason:
    return Reason.PERMISSION_DENIED if isinstance(error, PermissionError) else Reason.INVALID_PATH


def _is_file(root: int, name: str) -> bool:
    try:
        descriptor = open_beneath(root, name)
    except PermissionError as error:
        # Not to be taken for a missing one: then another file would run in its place.
        raise CannotRun(Reason.PERMISSION_DENIED, f"'{name}' of the program can't be opened by the runner") from error
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
            _reason_of(error),
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
