"""An attempt that this runner has claimed."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from runner.course import Course
from schemas.commands import ExecuteProgram
from schemas.output import StreamSummary


class ClaimState(StrEnum):
    """How far a claimed attempt has come."""

    #: Proposed to the bus, perhaps; its container was not started.
    CLAIMED = "claimed"
    #: The order to start its container was about to be given, should the attempt be this runner's: then it counts as started,
    #: whatever happened to the order, unless its container is there and was not.
    STARTING = "starting"
    #: Its end is in the outbox or was told; its container may still be there.
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """One attempt that this runner has claimed, with all it needs to run it or to end it."""

    execution_id: str
    attempt: int
    #: The journal's when it was claimed.
    epoch: str
    nonce: str
    #: SHA-256 of the command's body.
    digest: str
    command: ExecuteProgram
    state: ClaimState = ClaimState.CLAIMED
    #: The canonical id, once the program was about to be started.
    program_id: str | None = None
    started_at: datetime | None = None
    #: What was published of its output so far.
    stdout: StreamSummary = field(default_factory=StreamSummary)
    stderr: StreamSummary = field(default_factory=StreamSummary)
    #: How far it has come, once it was about to be started.
    course: Course | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What names it."""
        return self.execution_id, self.attempt
