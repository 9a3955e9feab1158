"""The output of several services as one, in an order that another process has told of already. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator

from runner.engine import Frame, Order, Share
from schemas.output import StreamName


class Merging:
    """Puts the frames of several writers together: as they come, but first, of each stream, in the order it had before.

    What comes too early for that is held back. It is no more than Docker keeps of the writers' output: from the moment on in
    which the old order has been made again, frames pass as they come.
    """

    def __init__(self, order: Order, writers: Iterable[int]) -> None:
        """``writers`` are the numbers of all who may write, a frame's source."""
        self._order: dict[StreamName, deque[Share]] = {stream: deque(order.get(stream, ())) for stream in StreamName}
        self._held: dict[StreamName, dict[int, bytearray]] = {
            stream: {writer: bytearray() for writer in writers} for stream in StreamName
        }
        self._ended: set[int] = set()

    def add(self, source: int, stream: StreamName, content: bytes) -> Iterator[Frame]:
        """What can be handed out now that a writer has written this."""
        if not self._order[stream]:
            if content:
                yield Frame(stream, content, source)
            return
        self._held[stream][source] += content
        yield from self._due(stream)

    def end(self, source: int) -> Iterator[Frame]:
        """What can be handed out now that a writer will write nothing more."""
        self._ended.add(source)
        for stream in StreamName:
            if self._order[stream]:
                yield from self._due(stream)

    def _due(self, stream: StreamName) -> Iterator[Frame]:
        order, held = self._order[stream], self._held[stream]
        while order:
            first = order.popleft()
            waiting = held.get(first.source, bytearray())
            content = bytes(waiting[: first.size_bytes])
            del waiting[: first.size_bytes]
            if content:
                yield Frame(stream, content, first.source)
            # Where Docker has dropped what a flood began with, less comes than did before.
            if len(content) < first.size_bytes and first.source in held and first.source not in self._ended:
                order.appendleft(Share(first.source, first.size_bytes - len(content)))
                return
        for writer, rest in held.items():
            if rest:
                yield Frame(stream, bytes(rest), writer)
                rest.clear()
