"""One record of a container's output, and which of its steps wrote what."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from runner.engine import Frame
from schemas.output import StreamName


@dataclass(frozen=True, slots=True)
class Part:
    """What one step wrote."""

    #: Bytes of each stream from the record's beginning to the step's end.
    ends_at: Mapping[StreamName, int]
    take: Callable[[Frame], None]


async def after(parts: Sequence[Part], frames: AsyncGenerator[Frame, None]) -> AsyncGenerator[Frame, None]:
    """Hand the parts of earlier steps to those who take them, in order, and yield what follows the last."""
    read = dict.fromkeys(StreamName, 0)
    async with aclosing(frames):
        async for frame in frames:
            rest = frame.content
            for part in parts:
                room = part.ends_at.get(frame.stream, 0) - read[frame.stream]
                if room > 0 and rest:
                    mine, rest = rest[:room], rest[room:]
                    read[frame.stream] += len(mine)
                    part.take(replace(frame, content=mine))
            if rest:
                read[frame.stream] += len(rest)
                yield replace(frame, content=rest)
