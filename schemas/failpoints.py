"""Failpoints: named places where a test lets a process die, as ``kill -9`` in that very moment would.

``HUB_FAILPOINT=journal.claimed`` in the environment of a process kills it when it first passes the point of this name,
``journal.claimed:3`` at the third time. Without the variable passing one is a comparison, and nothing else.
"""

import os
import signal

VARIABLE = "HUB_FAILPOINT"


class _Armed:
    """The one point that is to kill this process."""

    def __init__(self, wanted: str) -> None:
        self.name, _, nth = wanted.partition(":")
        if nth and not (nth.isascii() and nth.isdecimal() and int(nth) > 0):
            raise ValueError(f"{VARIABLE} is the name of a point, or name:N with N from 1 on, not '{wanted}'")
        self._left = int(nth or 1)

    def passed(self) -> None:
        """Die, if this was the time."""
        self._left -= 1
        if self._left == 0:
            os.write(2, f"killed at the failpoint {self.name}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
            os._exit(128 + signal.SIGKILL)  # the first process of a container is spared by its own signals


_armed = _Armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def failpoint(name: str) -> None:
    """Pass the point of this name: the step that it is named after is done, and nothing that follows."""
    if _armed is not None and _armed.name == name:
        _armed.passed()
