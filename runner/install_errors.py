"""What pip's words mean when it fails. Pure."""

import re

from runner.errors import CannotRun
from schemas.reasons import Reason

#: Longest part of pip's words in a message, in characters; the record's lines have all of them.
_LONGEST_WORDS = 2_000
_LAST_LINES = 5

#: pip speaks so of an index that it could not talk to …
_UNREACHABLE = re.compile(
    r"connection broken by|Could not fetch URL|NewConnectionError|NameResolutionError|Max retries exceeded"
)
#: … and so of one that it could.
_REACHED = re.compile(r"^\s*(?:Downloading|Using cached|Obtaining dependency information) ", re.M)


class InstallFailed(CannotRun):
    """The requirements of a program could not be installed."""

    def __init__(self, reason: Reason, message: str, said: bytes) -> None:
        super().__init__(reason, message)
        #: All that pip said.
        self.said = said


def pip_failed(program_id: str, title: str, exit_code: int, said: bytes) -> InstallFailed:
    """pip ended with this code, having said that."""
    text = said.decode("utf-8", "replace")
    no_network = _UNREACHABLE.search(text) is not None and _REACHED.search(text) is None
    message = f"{_missing(program_id, title)}: pip exited with code {exit_code}."
    if no_network:
        message += " The package index could not be reached."
    words = _words(text)
    return InstallFailed(
        Reason.NETWORK if no_network else Reason.MISSING_DEPENDENCIES, f"{message}\n{words}" if words else message, said
    )


def install_timed_out(program_id: str, title: str, limit_seconds: float, said: bytes) -> InstallFailed:
    """pip was stopped at the limit."""
    message = f"{_missing(program_id, title)} within {limit_seconds:g} s (install_timeout_seconds)."
    words = _words(said.decode("utf-8", "replace"))
    return InstallFailed(Reason.MISSING_DEPENDENCIES, f"{message}\n{words}" if words else message, said)


def _missing(program_id: str, title: str) -> str:
    return f"Missing dependencies: {title} of program '{program_id}' could not be installed"


def _words(text: str) -> str:
    """What pip calls errors, or else the last that it said."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lstrip().lower().startswith("error:")]
    return "\n".join(errors or lines[-_LAST_LINES:])[-_LONGEST_WORDS:]
