"""What somebody waits for who has written to the control stream: the answer in what was read back of it."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from bus.errors import BusError
from bus.rabbitmq.claims import Claims

T = TypeVar("T")
#: What was found, or the error that is the answer.
Seen = tuple[T | None, BusError | None]


class Expectation(Generic[T]):
    """One answer that is waited for."""

    def __init__(self, answer: Callable[[Claims], T | None]) -> None:
        self._answer = answer
        #: Set whenever something was read that it is about.
        self.news = asyncio.Event()
        self._found: T | None = None
        self._error: BusError | None = None

    def look(self, claims: Claims) -> Seen[T]:
        """Look for the answer; in the thread of the file."""
        try:
            return self._answer(claims), None
        except BusError as error:
            return None, error

    def hear(self, found: T | None, error: BusError | None) -> None:
        """What was seen last."""
        self._found, self._error = found, error

    def found(self) -> T | None:
        """The answer; ``None`` where there is none yet. Raises where the answer is an error."""
        if self._error is not None:
            raise self._error
        return self._found


def nothing(_claims: Claims) -> bool | None:
    """For who only waits until it was read."""
    return None
