"""The statuses of an execution and the one rule by which they change: forward only, and the first ending wins."""

from enum import StrEnum


class Status(StrEnum):
    """Where an execution stands."""

    #: Accepted and durable, not yet started.
    QUEUED = "queued"
    #: Its container was started.
    RUNNING = "running"
    #: The program ended with exit code 0.
    COMPLETED = "completed"
    #: The program ended with another exit code, or could not be run; the reason says which.
    FAILED = "failed"
    #: The program was stopped at its time limit.
    TIMEOUT = "timeout"
    #: Somebody asked for its end.
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can follow this status."""
        return self in TERMINAL

    @property
    def rank(self) -> int:
        """0 for queued, 1 for running, 2 for every ending: a status may only be followed by one of a higher rank."""
        return 0 if self is Status.QUEUED else 1 if self is Status.RUNNING else 2

    def may_become(self, following: "Status") -> bool:
        """Whether ``following`` is a legal next status."""
        return following.rank > self.rank


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.CANCELLED})
