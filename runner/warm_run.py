"""One attempt in a warm container, as far as its frames tell. Pure."""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from runner.engine import NEVER, Frame
from runner.steps import Step
from runner.warm_agent import MOST_READY_BYTES, READY
from runner.warm_frames import Begin, End, FrameDecoder
from runner.warm_plan import WarmPlan
from schemas.output import StreamName


@dataclass
class WarmRun:
    """What this process knows of it."""

    plan: WarmPlan
    #: What the container was called before it had a job.
    first_name: str
    #: Whether the agent waits for its next step on a connection of this process.
    is_listening: bool = True
    #: Whether what is read of it begins with what the agent has written first.
    from_the_start: bool = True
    #: Whether anything was begun in it, and the step that was begun last: ``None`` where nothing was, or no frame tells which.
    has_begun: bool = False
    begun: Step | None = None
    #: The step that is being run; ``None`` where it is known only that one is.
    current: Step | None = None
    #: How that ended, once both streams have told; whether nothing more can tell; and set when one of both is so.
    end: End | None = None
    is_lost: bool = False
    told: asyncio.Event = field(default_factory=asyncio.Event)
    #: What was read and not handed out.
    waiting: deque[Frame] = field(default_factory=deque)
    _decoders: dict[StreamName, FrameDecoder] = field(default_factory=dict)
    _ends: dict[StreamName, End] = field(default_factory=dict)

    @property
    def last_start(self) -> str:
        """Which start was the last: the step that it was for."""
        if not self.has_begun:
            return NEVER
        return "unknown" if self.begun is None else self.begun.value

    def order(self, step: Step) -> None:
        """A step is about to be run."""
        self.current = step
        self.end = None
        self.is_lost = False
        self._ends.clear()
        self.told.clear()

    def feed(self, frame: Frame) -> bool:
        """Something was read: what of it is the program's waits to be handed out. Whether both streams have told an end."""
        for found in self._decoder(frame.stream).feed(frame.content):
            match found:
                case bytes():
                    self.waiting.append(Frame(frame.stream, found))
                case Begin():
                    self.has_begun, self.begun = True, found.step
                case End():
                    self._take(frame.stream, found)
        return self.end is not None

    def lose(self) -> None:
        """Nothing more can be read of this step."""
        for stream, decoder in self._decoders.items():
            if rest := decoder.rest():
                self.waiting.append(Frame(stream, rest))
        self.is_lost = True
        self.told.set()

    def hand_out(self) -> Iterator[Frame]:
        """What waits."""
        while self.waiting:
            yield self.waiting.popleft()

    def _decoder(self, stream: StreamName) -> FrameDecoder:
        if stream not in self._decoders:
            self._decoders[stream] = FrameDecoder(self.plan.nonces, from_the_start=self.from_the_start)
        return self._decoders[stream]

    def _take(self, stream: StreamName, end: End) -> None:
        if self.current not in (None, end.step):
            return
        self._ends[stream] = end
        if len(self._ends) == len(StreamName):
            self.end = self._ends[StreamName.STDOUT]
            self.told.set()


class Sighting:
    """What Docker's log of a warm container tells of it: read from its beginning, as far as that is still there."""

    def __init__(self, plan: WarmPlan | None) -> None:
        """Without a ``plan`` it tells no more than whether anything has begun."""
        self._decoder = FrameDecoder(plan.nonces if plan else {}, from_the_start=False)
        self._first = bytearray()
        self._stderr_bytes = 0
        #: The step that was begun last, and whether it has ended; ``None`` where no frame tells.
        self.last: Step | None = None
        self.has_ended = False

    def feed(self, frame: Frame) -> None:
        """Something of it was read."""
        if frame.stream is not StreamName.STDOUT:
            self._stderr_bytes += len(frame.content)
            return
        self._first += frame.content[: max(0, MOST_READY_BYTES - len(self._first))]
        for found in self._decoder.feed(frame.content):
            if isinstance(found, Begin | End):
                self.last, self.has_ended = found.step, isinstance(found, End)

    @property
    def is_whole(self) -> bool:
        """Whether its beginning is there: of a flood Docker drops the oldest."""
        if not self._first:
            return self._stderr_bytes < MOST_READY_BYTES
        return bytes(self._first[: len(READY)]) in (READY, READY[: len(self._first)])

    @property
    def has_begun(self) -> bool:
        """Whether anything was begun in it: nothing was where all that the agent said is that it is ready."""
        if not self.is_whole:
            return True
        _, newline, rest = bytes(self._first).partition(b"\n")
        return bool(newline and rest)
