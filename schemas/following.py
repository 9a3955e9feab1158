"""Following an execution while it runs: how far somebody has come, and what comes next."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from schemas.executions import Execution
from schemas.output import StreamName

#: The greatest numbers that a place may name: more than there ever are, and what every database holds.
_MOST = 2**53
_PLACE = re.compile(r"([0-9]{1,16})\.([0-2])\.([0-9]{1,16})\.([0-9]{1,16})\.([0-9]{1,16})\.([0-9]{1,16})")


@dataclass(frozen=True, slots=True)
class Read:
    """How much of one stream was read."""

    #: Chunks, which is the number of the next one.
    chunks: int = 0
    bytes: int = 0


def _nothing() -> Mapping[StreamName, Read]:
    return dict.fromkeys(StreamName, Read())


@dataclass(frozen=True, slots=True)
class Place:
    """How far a follower of an execution has come. As text it is the ``Last-Event-ID`` that a follower comes back with."""

    attempt: int = 1
    #: Rank of the statuses of this attempt that were told are below it: 0 before the first.
    ranks_told: int = 0
    #: Of each stream of this attempt.
    read: Mapping[StreamName, Read] = field(default_factory=_nothing)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place in a ``Last-Event-ID``.

        Raises:
            ValueError: it names none.
        """
        match = _PLACE.fullmatch(text)
        if match is None:
            raise ValueError("not the id of an event of this stream")
        attempt, ranks, *numbers = map(int, match.groups())
        if attempt < 1 or max(attempt, *numbers) > _MOST:
            raise ValueError("not the id of an event of this stream")
        stdout, stderr = Read(*numbers[:2]), Read(*numbers[2:])
        return cls(attempt, ranks, {StreamName.STDOUT: stdout, StreamName.STDERR: stderr})

    def __str__(self) -> str:
        stdout, stderr = self.read[StreamName.STDOUT], self.read[StreamName.STDERR]
        numbers = (self.attempt, self.ranks_told, stdout.chunks, stdout.bytes, stderr.chunks, stderr.bytes)
        return ".".join(map(str, numbers))

    def after(self, piece: "Piece") -> "Place":
        """The place once this piece was told too."""
        read = Read(piece.sequence + 1, self.read[piece.stream].bytes + len(piece.content))
        return replace(self, read={**self.read, piece.stream: read})


@dataclass(frozen=True, slots=True)
class Piece:
    """What comes next of one stream."""

    stream: StreamName
    #: Number of this piece within its stream and attempt, from 0 and without gaps.
    sequence: int
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the view shows to somebody at a place, all of one moment."""

    execution: Execution
    #: What comes next of the output of that attempt; not all of it where there is a lot.
    pieces: tuple[Piece, ...] = ()
    #: Whether the attempt has ended and the pieces are the last of what was kept.
    complete: bool = False
