"""Waiting between tries."""

import random


class Backoff:
    """Growing pauses with jitter, so that many that lost the same thing do not come back at the same moment."""

    def __init__(self, *, first_seconds: float = 0.1, most_seconds: float = 5.0) -> None:
        self._first = first_seconds
        self._most = most_seconds
        self._next = first_seconds

    def next_seconds(self) -> float:
        """How long to wait before the next try, in seconds."""
        pause = self._next
        self._next = min(self._next * 2, self._most)
        return pause * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin again with the shortest pause: something worked."""
        self._next = self._first
