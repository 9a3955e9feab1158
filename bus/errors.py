"""The errors of the bus."""

from bus.messages import Position


class BusError(Exception):
    """Something went wrong on the bus."""


class BusUnavailable(BusError):
    """The bus can't be reached, or did not answer in time.

    ``outcome_unknown`` is true where the message may have been taken all the same: publish it again under the same id,
    which is harmless, or find out later what became of it.
    """

    def __init__(self, message: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class UnknownPool(BusError):
    """No work queue exists for this pool, so nothing was accepted."""

    def __init__(self, pool: str) -> None:
        super().__init__(f"no work queue exists for pool {pool!r}: name the pool in config.yaml of every service")
        self.pool = pool


class BusClosed(BusError):
    """The bus was closed while it was in use."""


class Fenced(BusError):
    """The epoch is over: its runner was silent for too long, and others have ended what it had claimed."""

    def __init__(self, epoch: str) -> None:
        super().__init__(f"epoch {epoch} was fenced")
        self.epoch = epoch


class BadBusUrl(BusError):
    """The address of the bus can't be used; its text says why."""


class BusInUse(BusError):
    """Another process has the embedded bus open; only one at a time may."""


class StreamGap(BusError):
    """A stream does not go on where a reader left it: records were removed before they were read, or it is another one."""

    def __init__(self, stream: str, expected: Position, seen: Position | None) -> None:
        """``seen`` is what stands there, or next, instead; ``None`` where the stream ends before that place."""
        super().__init__(f"{stream} does not go on at {expected}: {seen}")
        self.stream = stream
        self.expected = expected
        self.seen = seen

    @property
    def replaced(self) -> bool:
        """Whether what was read is not in the stream any more as it was, so that it is read from its first record."""
        return self.seen is None or self.seen.offset <= self.expected.offset


class Unroutable(BusError):
    """No queue was bound where the message was published, so nobody got it."""
