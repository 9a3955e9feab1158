"""Who this runner is: two names, made once and kept in the state directory."""

import contextlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from runner.errors import BadIdentity

# What is safe as a label, in a file name and in the path of an event's source.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Identity:
    """The names that a runner's containers and events carry."""

    #: Of the installation: two hubs on one engine never touch each other's containers.
    instance: str
    #: Of this runner within it.
    runner_id: str

    @property
    def source(self) -> str:
        """The ``source`` of this runner's events."""
        return f"/runner/{self.runner_id}"


def load_identity(state_dir: Path, *, instance: str | None = None, runner_id: str | None = None) -> Identity:
    """The identity kept in ``state_dir``, made at the first call; a name given here goes before a kept one and is not kept.

    Raises:
        BadIdentity: a name has characters that can't be part of a label.
        OSError: the state directory can't be used.
    """
    return Identity(
        instance=_checked("instance", instance or _kept(state_dir / "instance")),
        runner_id=_checked("runner id", runner_id or _kept(state_dir / "runner-id")),
    )


def _kept(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and linked into place: whoever comes first wins, and nobody reads half a name.
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_text(secrets.token_hex(6) + "\n", encoding="ascii")
        try:
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        finally:
            aside.unlink()
    return path.read_text(encoding="utf-8").strip()


def _checked(what: str, name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise BadIdentity(f"{name!r} can't be the {what}: use up to 63 letters, digits, '_', '.' and '-'")
    return name
