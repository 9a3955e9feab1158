"""The files of a Compose program. The program can write there, so what Compose is shown of them is a copy that was checked."""

import errno
import json
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.compose_model import refused
from runner.compose_source import read_source, usable_env
from runner.compose_spec import ComposeSpec, Place
from runner.compose_yaml import LONGEST_FILE, BadYaml
from runner.errors import CannotRun
from runner.open_beneath import open_beneath
from runner.program_files import folder_of, parse_env
from schemas.programs import Program
from schemas.reasons import Reason

_LONGEST_ENV_FILE = 1024 * 1024
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """What Compose is shown."""

    #: The file, in a folder that only this process writes to.
    file: Path
    #: What ``.env`` adds to interpolation.
    env: dict[str, str]


def locate(program: Program, project_dir: Path, out_of_bounds: Sequence[Path] = ()) -> Place:
    """Where the program's Compose file is. Blocks: call it in a thread.

    Raises:
        CannotRun: there is none, it lies outside the program's folder without being named absolutely, or its folder holds one
            of the paths ``out_of_bounds``.
    """
    named = Path(program.path_docker_compose_run or "")
    folder = folder_of(program, project_dir)
    file = Path(os.path.normpath(folder / named))
    if not file.is_relative_to(folder):
        if not named.is_absolute():
            raise CannotRun(
                Reason.INVALID_PATH,
                f"The Compose file '{named}' of program '{program.id}' is not in the program's folder: name it absolutely",
            )
        folder = file.parent
    if not file.is_file():
        raise _not_found(file)
    real_folder = os.path.realpath(folder)
    if any(Path(os.path.realpath(path)).is_relative_to(real_folder) for path in out_of_bounds):
        raise CannotRun(
            Reason.INVALID_PATH,
            f"The folder of the Compose file of program '{program.id}' holds the hub's own state or Docker's socket, which"
            " would be the program's too: give it a folder of its own",
        )
    return Place(file, folder)


def copy_for_compose(spec: ComposeSpec, into: Path) -> WorkingCopy:
    """Copy the file, and the files of variables it names, to where nobody can change them any more. Blocks.

    They get the place below ``into`` that they have below the root of all. The file is written anew from what was understood of
    it, so that Compose can't understand it otherwise.

    Raises:
        CannotRun: a file is missing, or the Compose file can't be used or asks for what it may not have.
    """
    relative = spec.file.relative_to(spec.folder)
    here = into / spec.folder.relative_to("/")
    try:
        root = os.open(spec.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _not_found(spec.file) from error
    try:
        content = _read(root, relative, LONGEST_FILE)
        if content is None:
            raise _not_found(spec.file)
        try:
            source = read_source(content)
        except BadYaml as error:
            raise refused(spec, [str(error)]) from error
        if source.refusals:
            raise refused(spec, source.refusals)
        _write(here / relative, as_yaml(source.document))
        for env_file in source.env_files:
            path = Path(os.path.normpath(relative.parent / env_file.path))
            content = None if ".." in path.parts else _read(root, path, _LONGEST_ENV_FILE)
            if content is not None:
                _write(here / path, content)
            elif env_file.required:
                raise CannotRun(
                    Reason.INVALID_PATH, f"env_file '{env_file.path}' is not in the folder of program '{spec.program_id}'"
                )
        env = parse_env(_read(root, relative.parent / ".env", _LONGEST_ENV_FILE) or b"", spec.program_id)
        return WorkingCopy(here / relative, usable_env(env, source.words))
    finally:
        os.close(root)


def check_sources(sources: Sequence[Path], folder: Path) -> str | None:
    """What is wrong with paths that are bound or built, now that links are looked at; ``None`` where nothing is. Blocks."""
    real_folder = os.path.realpath(folder)
    for source in sources:
        if not Path(os.path.realpath(source)).is_relative_to(real_folder):
            return f"{source} leads out of the program's folder"
    return None


def as_yaml(document: Any) -> bytes:
    """The document as text that every reader of YAML understands alike: JSON, in ASCII."""
    text = json.dumps(document, ensure_ascii=False)
    # YAML's own spelling: JSON's would have two halves for some characters, which Compose 1 can't put together.
    return _NOT_PLAIN.sub(lambda found: f"\\U{ord(found[0]):08X}", text).encode("ascii")


def _not_found(file: Path) -> CannotRun:
    return CannotRun(Reason.COMPOSE_FILE_NOT_FOUND, f"Docker Compose file not found: {file}")


def _read(root: int, path: Path, longest: int) -> bytes | None:
    """The file's first ``longest`` bytes and one more; ``None`` where there is none.

    Raises:
        CannotRun: it can't be read, or leads out of the folder.
    """
    try:
        descriptor = open_beneath(root, str(path))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise CannotRun(Reason.INVALID_PATH, f"'{path}' can't be opened: {os.strerror(error.errno or 0)}") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = file.read(longest + 1)
    if len(content) > longest and longest == _LONGEST_ENV_FILE:
        raise CannotRun(Reason.INVALID_PATH, f"'{path}' is longer than a megabyte")
    return content


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
