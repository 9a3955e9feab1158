"""The lines around a program's own output: what the hub, pip and the actions said before it ran and after it had ended."""

from schemas.events import MAX_LINES

#: Who says a line, as people see it at its beginning.
HUB = "[hub]"
PIP = "[pip]"

#: Room for the words about what was left out.
_NOTE_BYTES = 100


class Lines:
    """Collects lines, each under its speaker's prefix, in bounded memory: the first and the last are kept, the middle goes."""

    def __init__(self, limit: int = MAX_LINES) -> None:
        """``limit`` is the longest text, in characters."""
        self._half = (limit - _NOTE_BYTES) // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._cut_bytes = 0
        #: Who has begun a line that has no end yet.
        self._speaking: str | None = None

    def add(self, prefix: str, said: bytes | str) -> None:
        """Take in what somebody said, perhaps a part of a line; the next part may come with the next call."""
        content = said.encode() if isinstance(said, str) else said
        if self._speaking not in (None, prefix):
            self._end_line()
        for line in content.splitlines(keepends=True):
            if self._speaking is None:
                self._write(f"{prefix} ".encode())
            self._write(line)
            self._speaking = None if line.endswith(b"\n") else prefix

    def restore(self, text: str) -> None:
        """Take in what an earlier life has collected."""
        self._write(text.encode())

    def say(self, prefix: str, line: str) -> None:
        """Take in one whole line."""
        self._end_line()
        self.add(prefix, f"{line}\n")

    def text(self) -> str | None:
        """Everything said so far, each line with its end; ``None`` where nobody said anything."""
        self._end_line()
        if not self._cut_bytes:
            return (self._head + self._tail).decode("utf-8", "replace") or None
        # Whole lines only, on either side of the gap.
        head, begun = self._head[: self._head.rfind(b"\n") + 1], self._head[self._head.rfind(b"\n") + 1 :]
        rest, _, tail = self._tail.partition(b"\n")
        left_out = self._cut_bytes + len(begun) + len(rest) + 1
        return (head + f"{HUB} {left_out} bytes of lines were left out here\n".encode() + tail).decode("utf-8", "replace")

    def _end_line(self) -> None:
        if self._speaking is not None:
            self._write(b"\n")
            self._speaking = None

    def _write(self, content: bytes) -> None:
        room = self._half - len(self._head)
        self._head += content[:room]
        if len(content) > room:
            self._tail += content[room:]
            surplus = max(0, len(self._tail) - self._half)
            del self._tail[:surplus]
            self._cut_bytes += surplus
