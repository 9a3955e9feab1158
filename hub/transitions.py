"""A transition as the view keeps it for the announcer."""

from dataclasses import dataclass
from typing import Protocol

from bus.messages import Message, Position, StreamName


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTransition:
    """One accepted change of status, or step towards a start, ready to be published."""

    #: Place of its record in the log.
    offset: int
    #: Routing key to announce it under.
    key: str
    #: The event; its correlation id belongs to the reply alone.
    message: Message
    reply_to: str | None


class Transitions(Protocol):
    """The accepted transitions, in the order of the log."""

    async def transitions_after(self, position: int | None, limit: int) -> list[StoredTransition]:
        """The first ``limit`` transitions after a place in the log (``None``: from the first one)."""

    async def position(self, stream: StreamName) -> Position | None:
        """The last record of a stream that was folded in; ``None`` before the first."""

    async def trim_transitions(self, before: int) -> None:
        """Forget those before this place in the log."""
