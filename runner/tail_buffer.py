"""The end of two streams, in a bounded space."""

from runner.engine import Frame, Tail
from schemas.output import StreamName


class TailBuffer:
    """Keeps the last bytes of each stream."""

    def __init__(self, most_bytes: int) -> None:
        """``most_bytes`` is for each stream."""
        self._most_bytes = most_bytes
        self._ends = {stream: bytearray() for stream in StreamName}
        self._cut: set[StreamName] = set()

    def feed(self, frame: Frame) -> None:
        """What was written next."""
        end = self._ends[frame.stream]
        end += frame.content
        if len(end) > self._most_bytes:
            del end[: len(end) - self._most_bytes]
            self._cut.add(frame.stream)

    def tail(self, *, truncated: bool = False) -> Tail:
        """What is kept. Where the beginning was cut off, it begins with a whole line if there is one."""
        return Tail(self._end(StreamName.STDOUT), self._end(StreamName.STDERR), truncated or bool(self._cut))

    def _end(self, stream: StreamName) -> bytes:
        end = bytes(self._ends[stream])
        if stream in self._cut:
            _, _, rest = end.partition(b"\n")
            return rest or end
        return end
