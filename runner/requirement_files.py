"""What a folder asks pip for: its ``requirements.txt`` and the files that this one includes, as they are at one moment.

Whatever decides what pip would install must be known here: two folders that look the same get the same packages.
"""

import hashlib
import os
import posixpath
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runner.errors import CannotRun
from runner.open_beneath import open_beneath
from schemas.reasons import Reason

REQUIREMENTS = "requirements.txt"

_LONGEST_FILE = 1024 * 1024
_MOST_FILES = 50
#: Files of a folder that are looked at where a local package is asked for.
_MOST_LOCAL_FILES = 20_000
#: Written by running and by editing, never installed.
_IGNORED = frozenset({"__pycache__", ".git"})

_COMMENT = re.compile(r"(^|\s+)#.*$")
_INCLUDE = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s*=\s*|\s*)(?P<path>.+)")
_LOCAL_OPTION = re.compile(r"(?:-e|--editable|-f|--find-links)(?:\s*=\s*|\s*)(?P<path>.+)")
_ARCHIVE = re.compile(r"\.(?:whl|zip|tar\.gz|tar\.bz2|tar\.xz|tgz)(?:\[|$|\s)", re.I)
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")


@dataclass(frozen=True, slots=True)
class RequirementFiles:
    """The files of one folder, :data:`REQUIREMENTS` among them."""

    #: Path beneath the folder → content.
    contents: Mapping[str, bytes]
    #: Variables that the files refer to as ``${NAME}``.
    variables: frozenset[str] = frozenset()
    #: Stands for everything in the folder where packages lie there; ``None`` where the files above say it all.
    folder_state: str | None = None


def read_requirements(root: int, where: str) -> RequirementFiles | None:
    """The requirements of the folder that is open as ``root``; ``None`` where it asks for nothing. Blocks.

    A file that is included but can't be had is left to pip, which says so.

    Raises:
        CannotRun: requirements.txt is there and can't be read, or there is too much of it; ``where`` names the folder.
    """
    contents: dict[str, bytes] = {}
    waiting = [REQUIREMENTS]
    lines: list[str] = []
    while waiting:
        path = waiting.pop()
        if path in contents:
            continue
        content = _read(root, path, where)
        if content is None:
            continue
        contents[path] = content
        if len(contents) > _MOST_FILES:
            raise CannotRun(Reason.INVALID_PATH, f"'{REQUIREMENTS}' of {where} includes more than {_MOST_FILES} files")
        for line in logical_lines(content.decode("utf-8", "replace")):
            lines.append(line)
            if (included := included_path(line, posixpath.dirname(path))) is not None:
                waiting.append(included)
    if not lines:
        return None
    return RequirementFiles(
        contents,
        variables=frozenset(name for line in lines for name in _VARIABLE.findall(line)),
        folder_state=_state_of(root) if any(is_local(line) for line in lines) else None,
    )


def _read(root: int, path: str, where: str) -> bytes | None:
    try:
        descriptor = open_beneath(root, path)
    except OSError as error:
        if path != REQUIREMENTS or isinstance(error, FileNotFoundError):
            return None
        reason = Reason.PERMISSION_DENIED if isinstance(error, PermissionError) else Reason.INVALID_PATH
        raise CannotRun(reason, f"'{path}' of {where} can't be opened: {os.strerror(error.errno or 0)}") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = file.read(_LONGEST_FILE + 1)
    if len(content) > _LONGEST_FILE:
        raise CannotRun(Reason.INVALID_PATH, f"'{path}' of {where} is longer than a megabyte")
    return content


def logical_lines(text: str) -> Iterator[str]:
    """The lines that say something, without comments, continued ones put together: as pip reads them."""
    begun = ""
    for raw in text.removeprefix("\ufeff").splitlines():
        if raw.endswith("\\") and not raw.lstrip().startswith("#"):
            begun += raw[:-1]
            continue
        line = _COMMENT.sub("", begun + raw).strip()
        begun = ""
        if line:
            yield line
    if begun.strip():
        yield begun.strip()


def included_path(line: str, folder: str) -> str | None:
    """The file beneath the root that a line includes; ``None`` where it includes none, or one from elsewhere."""
    match = _INCLUDE.fullmatch(line)
    if match is None:
        return None
    named = match["path"].strip("'\"")
    path = posixpath.normpath(posixpath.join(folder, named))
    leads_out = path.startswith(("/", "../")) or path == ".."
    return None if leads_out or "://" in named or "\0" in named else path


def is_local(line: str) -> bool:
    """Whether a line may ask for something that lies in the folder. Saying yes too often costs time, never correctness."""
    if _INCLUDE.fullmatch(line):
        return False
    if "file:" in line:
        return True
    option = _LOCAL_OPTION.fullmatch(line)
    asked = option["path"] if option else line
    if "://" in asked:
        return False
    if option is None and asked.startswith("-"):
        return False
    return option is not None or "/" in asked or asked.startswith(".") or _ARCHIVE.search(asked) is not None


def _state_of(root: int) -> str:
    """The same for the same files: names, sizes and times of change."""
    digest = hashlib.sha256()
    count = 0
    for folder, folders, files, descriptor in os.fwalk(".", dir_fd=root):
        folders[:] = sorted(name for name in folders if name not in _IGNORED)
        for name in sorted(files):
            count += 1
            if count > _MOST_LOCAL_FILES:
                return secrets.token_hex()  # too many to tell: never the same as before
            try:
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:
                continue  # removed while we looked
            digest.update(f"{folder}/{name}\0{found.st_mode}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()
