"""The parts that a process can play."""

from enum import StrEnum


class Role(StrEnum):
    """A part that a process can play."""

    GATEWAY = "gateway"
    RUNNER = "runner"
