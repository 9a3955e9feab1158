"""What a warm container writes: the program's bytes, and around each step a frame of the agent's on both streams. Pure.

A frame is a line: a mark, the step's nonce, and ``begin`` or ``end CODE KILLS TERMS``. It comes in one piece or in many, right
behind bytes of the program and right before others. Whatever is no whole frame with the right nonce is the program's own.

The nonce guards against accidents. A program that finds it out can forge its end: that ends it, since its container is killed
then, with the exit code that it chose, as ``exit`` does.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from runner.steps import Step

_MARK = b"\x1e"
_NONCE_LENGTH = 32
#: Longest thing behind the nonce: `` end 255 999999 999999`` and the line break.
_MOST_TEXT = 32
_BEGIN = re.compile(rb" begin\n")
_AGENTS_WORDS = re.compile(rb"\x1e[0-9a-f]{32} (?:begin|end [-0-9 ]{5,20})\n|^pyexecutorhub-ready \{.*\}\n", re.MULTILINE)
_END = re.compile(rb" end (\d{1,3}) (-1|\d{1,6}) (\d{1,6})\n")


def nonces_of(secret: str) -> dict[Step, str]:
    """A nonce for each step: nobody who knows one of them knows another."""
    return {step: hashlib.sha256(f"{secret}:{step.value}".encode()).hexdigest()[:_NONCE_LENGTH] for step in Step}


@dataclass(frozen=True, slots=True)
class Begin:
    """The agent is about to start a step."""

    step: Step


@dataclass(frozen=True, slots=True)
class End:
    """The agent has seen a step's end."""

    step: Step
    code: int
    #: Processes that were killed for want of memory; ``None`` where that can't be told.
    kills: int | None
    #: How often it was told to end.
    terms: int

    @property
    def is_clean(self) -> bool:
        """Whether the agent knows as much of this end as anybody, and goes on to the next step."""
        return self.code < 128 and self.kills == 0 and self.terms == 0


def without_frames(logged: bytes) -> bytes:
    """What Docker's log holds of a stream, for people: without all that an agent may have written, whatever its nonces are."""
    return _AGENTS_WORDS.sub(b"", logged)


class FrameDecoder:
    """Takes the frames out of one stream, however that arrives."""

    def __init__(self, nonces: Mapping[Step, str], *, from_the_start: bool = True) -> None:
        """``from_the_start`` says that what comes begins with what the agent has written first of all: then all that is
        written before a step begins is nobody's. Else it may begin anywhere, also in the middle of a step.
        """
        self._steps = {nonce.encode(): step for step, nonce in nonces.items()}
        self._pending = bytearray()
        self._is_program = not from_the_start

    def feed(self, data: bytes) -> Iterator[bytes | Begin | End]:
        """What is known with this piece: the program's bytes and the frames, in order."""
        self._pending += data
        while self._pending:
            at = self._pending.find(_MARK)
            if at != 0:
                yield from self._take(len(self._pending) if at < 0 else at)
                continue
            frame = self._frame()
            if frame is _Sight.UNKNOWN:
                return
            if isinstance(frame, _Sight):
                yield from self._take(1)
                continue
            self._is_program = isinstance(frame, Begin)
            yield frame

    def rest(self) -> bytes:
        """What was held back since it might have become a frame: to be asked for when nothing more comes."""
        return b"".join(piece for piece in self._take(len(self._pending)))

    def _take(self, size_bytes: int) -> Iterator[bytes]:
        taken = bytes(self._pending[:size_bytes])
        del self._pending[:size_bytes]
        if self._is_program and taken:
            yield taken

    def _frame(self) -> "Begin | End | _Sight":
        """The frame that stands first, which is taken away; or that there is none, or that this can't be told yet."""
        nonce = bytes(self._pending[1 : 1 + _NONCE_LENGTH])
        if len(nonce) < _NONCE_LENGTH:
            might_be = any(known.startswith(nonce) for known in self._steps)
            return _Sight.UNKNOWN if might_be else _Sight.NONE
        step = self._steps.get(nonce)
        if step is None:
            return _Sight.NONE
        text = bytes(self._pending[1 + _NONCE_LENGTH : 1 + _NONCE_LENGTH + _MOST_TEXT])
        line, newline, _ = text.partition(b"\n")
        if not newline:
            return _Sight.UNKNOWN if len(text) < _MOST_TEXT else _Sight.NONE
        line += newline
        found: Begin | End
        if _BEGIN.fullmatch(line):
            found = Begin(step)
        elif match := _END.fullmatch(line):
            kills = int(match[2])
            found = End(step, int(match[1]), None if kills < 0 else kills, int(match[3]))
        else:
            return _Sight.NONE
        del self._pending[: 1 + _NONCE_LENGTH + len(line)]
        return found


class _Sight(Enum):
    """Of a mark that no frame is known to follow."""

    NONE = auto()
    #: More bytes decide.
    UNKNOWN = auto()
