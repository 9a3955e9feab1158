"""The output of several services as one, each line under its service's name, as ``docker compose up`` shows it. Pure."""

from collections.abc import Iterable

from schemas.output import StreamName

#: Bytes of a line that are waited for; what is longer goes on in a line of its own, under the same name.
LONGEST_LINE = 64 * 1024


def prefixes(containers: Iterable[str]) -> dict[str, bytes]:
    """The beginning of each container's lines, all of one width: ``web-1  | ``."""
    names = list(containers)
    width = max(map(len, names), default=0) + 1
    return {name: f"{name:<{width}} | ".encode() for name in names}


class PrefixedLines:
    """The output of one container. No byte is lost; a last line without its end is given one."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._begun = {stream: bytearray() for stream in StreamName}

    def add(self, stream: StreamName, content: bytes) -> bytes:
        """The lines that are complete with this content."""
        begun = self._begun[stream]
        begun += content
        lines = begun.split(b"\n")
        begun[:] = lines.pop()
        # A line is cut at the same places however it arrived: whoever reads all of it again must get the same.
        whole = [part for line in lines for part in _cut(line)]
        *long, rest = _cut(begun)
        begun[:] = rest
        return b"".join(self._prefix + line + b"\n" for line in (*whole, *long))

    def rest(self, stream: StreamName) -> bytes:
        """The last line, where it has no end."""
        begun = self._begun[stream]
        line = self._prefix + begun + b"\n" if begun else b""
        begun.clear()
        return line


def _cut(line: bytearray) -> list[bytearray]:
    """The line in parts that are not too long; an empty one is one part."""
    return [line[start : start + LONGEST_LINE] for start in range(0, max(1, len(line)), LONGEST_LINE)]
