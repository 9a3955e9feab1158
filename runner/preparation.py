"""What is told of a preparation while it goes on: its stages, for those who wait, and its lines, for the record."""

from dataclasses import dataclass
from typing import Protocol

from schemas.progress_events import Phase


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a preparation has come."""

    phase: Phase
    #: For people; cut where it is longer than an event allows.
    message: str
    percent: int | None = None


class Listener(Protocol):
    """Who wants to hear of a preparation."""

    async def progress(self, stage: Stage) -> None:
        """It has come so far. About once a second, at most."""

    def say(self, prefix: str, said: bytes | str) -> None:
        """Somebody said something worth keeping; see :meth:`runner.lines.Lines.add`."""


class Nobody:
    """A listener who wants to hear nothing."""

    async def progress(self, stage: Stage) -> None:
        """See the protocol."""

    def say(self, prefix: str, said: bytes | str) -> None:
        """See the protocol."""


NOBODY = Nobody()
