"""A step as an agent reads it: one line, in which whatever a user wrote is quoted. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Longest line. A shell reads it byte by byte, some 2 MB a second: what is longer starts as fast in a container of its own.
MOST_JOB_BYTES = 32 * 1024

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: What shells keep for themselves: some can't be set, others would change what the shell does.
_SHELLS_OWN = frozenset(
    {"ENV", "EUID", "GROUPS", "IFS", "LINENO", "OLDPWD", "OPTARG", "OPTIND", "PATH", "PPID", "PWD", "RANDOM", "SECONDS"}
    | {"SHELLOPTS", "SHLVL", "UID", "_", "FUNCNAME", "DIRSTACK", "HOSTNAME", "PS1", "PS2", "PS4", "POSIXLY_CORRECT"}
)


@dataclass(frozen=True, slots=True)
class Job:
    """One step."""

    nonce: str
    argv: Sequence[str]
    #: What is added to the container's own variables.
    env: Mapping[str, str]
    #: Where it begins; ``None`` for the container's own working directory.
    folder: str | None = None


def shell_line(job: Job) -> bytes | None:
    """The line for the shell's agent; ``None`` where a shell can't be told that, or it is too long."""
    if not all(is_shell_variable(name) for name in job.env):
        return None
    settings = " ".join(f"{name}={quoted(value)}" for name, value in job.env.items())
    line = (
        f"hub_nonce={quoted(job.nonce)} hub_folder={quoted(job.folder or '')};"
        f" variables() {{ {f'export {settings}' if settings else ':'}; }}; set -- {' '.join(map(quoted, job.argv))}"
    )
    return _checked(line)


def python_line(job: Job) -> bytes | None:
    """The line for Python's agent; ``None`` where it is too long."""
    return _checked(ascii({"nonce": job.nonce, "argv": list(job.argv), "env": dict(job.env), "folder": job.folder}))


def is_shell_variable(name: str) -> bool:
    """Whether a shell hands a variable of this name on, and is not changed by it itself."""
    return _NAME.fullmatch(name) is not None and name not in _SHELLS_OWN and not name.startswith("BASH")


def quoted(text: str) -> str:
    """The text as one word of a shell, in one line. The agent's ``hub_nl`` is a line break."""
    return "'" + text.replace("'", "'\\''").replace("\n", "'\"$hub_nl\"'") + "'"


def _checked(line: str) -> bytes | None:
    try:
        encoded = line.encode() + b"\n"
    except UnicodeEncodeError:
        return None
    return encoded if len(encoded) <= MOST_JOB_BYTES and b"\0" not in encoded else None
