"""Connections that send one request after the other: answers, by status. A process of its own, without a library:

``python -m tests.benchmarks.load_generator PORT CONNECTIONS SECONDS < request`` prints a line of JSON.
"""

import asyncio
import json
import sys
import time
from collections import Counter

_HEADER_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, load: "Load") -> None:
        self._request = request
        self._load = load
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._load.opened += 1
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(_HEADER_END)
        if not end:
            return
        lines = head.lower().split(b"\r\n")
        length = next(int(line[len(_LENGTH) :]) for line in lines if line.startswith(_LENGTH))
        if len(rest) < length:
            return
        self._received = b""
        self._load.answered(int(lines[0].split(b" ")[1]))
        if self._load.goes_on:
            self._transport.write(self._request)
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._load.lost()


class Load:
    """What came back."""

    def __init__(self, ends_at: float, done: asyncio.Event) -> None:
        self._ends_at = ends_at
        self._done = done
        self.opened = 0
        self.answers: Counter[int] = Counter()

    @property
    def goes_on(self) -> bool:
        """Whether there is time for another request."""
        return time.monotonic() < self._ends_at

    def answered(self, status: int) -> None:
        """An answer has come."""
        if self.goes_on:
            self.answers[status] += 1

    def lost(self) -> None:
        """A connection is closed."""
        self.opened -= 1
        if not self.opened:
            self._done.set()


async def generate(port: int, connections: int, seconds: float, request: bytes) -> Counter[int]:
    """Send for so long."""
    done = asyncio.Event()
    load = Load(time.monotonic() + seconds, done)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(request, load), "127.0.0.1", port)
    await asyncio.wait_for(done.wait(), seconds + 30)
    return load.answers


if __name__ == "__main__":
    _, port, connections, seconds = sys.argv
    counted = asyncio.run(generate(int(port), int(connections), float(seconds), sys.stdin.buffer.read()))
    sys.stdout.write(json.dumps(counted) + "\n")
