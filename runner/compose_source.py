"""What a restricted Compose file may make Compose read, decided before Compose sees it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from runner.compose_yaml import BadYaml, read_yaml

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Variables that steer Compose and Docker themselves, and what runs on the runner's side.
_NOT_FROM_ENV_FILE = re.compile(
    r"(?:COMPOSE|DOCKER|BUILDKIT|BUILDX|LD|SSH|OTEL|GLIBC|MALLOC)_.*|PYTHON.*|.*_(?:proxy|PROXY)|PATH|HOME|PWD|TMPDIR|GCONV_PATH|LOCPATH"
)


@dataclass(frozen=True, slots=True)
class EnvFile:
    """A file of variables that a service names."""

    #: Relative to the Compose file's folder.
    path: str
    required: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A Compose file that was read, and the files that Compose will read with it."""

    document: Mapping[str, Any]
    env_files: tuple[EnvFile, ...]
    #: What in it might not be allowed, in words.
    refusals: tuple[str, ...]
    #: Every word in it: a variable that it uses is among them.
    words: frozenset[str]


def read_source(content: bytes) -> Source:
    """The file with what it would make Compose read.

    Raises:
        BadYaml: it is no YAML that can be used.
    """
    document = read_yaml(content)
    refusals: list[str] = []
    env_files: list[EnvFile] = []
    if "include" in document:
        refusals.append("include: it takes in other files")
    services = document.get("services")
    if not isinstance(services, dict) or not services:
        raise BadYaml("it has no services")
    for name, service in services.items():
        if not isinstance(service, dict):
            raise BadYaml(f"service '{name}' is not a mapping")
        extends = service.get("extends")
        if isinstance(extends, dict) and "file" in extends:
            refusals.append(f"service '{name}': extends from another file")
        if "label_file" in service:
            refusals.append(f"service '{name}': label_file")
        if "provider" in service:
            refusals.append(f"service '{name}': provider runs a program on the runner's own machine")
        env_files += _env_files(name, service.get("env_file"), refusals)
    return Source(document, tuple(env_files), tuple(refusals), frozenset(_WORD.findall(content.decode("utf-8-sig"))))


def _env_files(service: str, value: Any, refusals: list[str]) -> list[EnvFile]:
    found = []
    for each in value if isinstance(value, list) else [] if value is None else [value]:
        path, required = (each.get("path"), each.get("required", True)) if isinstance(each, dict) else (each, True)
        if not isinstance(path, str) or not path or "$" in path or "\0" in path or PurePosixPath(path).is_absolute():
            refusals.append(f"service '{service}': env_file {path!r} must be a path in the program's folder, without variables")
            continue
        found.append(EnvFile(path, required is not False))
    return found


def usable_env(env_file: Mapping[str, str], words: frozenset[str]) -> dict[str, str]:
    """What ``.env`` adds to interpolation: the variables that the file names, less those that steer Compose itself."""
    return {name: text for name, text in env_file.items() if name in words and not _NOT_FROM_ENV_FILE.fullmatch(name)}
