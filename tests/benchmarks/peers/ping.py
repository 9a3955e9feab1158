"""How a handler says that it was reached, and when: a datagram with the time by the clock that all processes share."""

import os
import socket
import struct
import time
from collections.abc import Mapping

_FORM = struct.Struct("!QQ")
#: Added to the number of a message for its second ping, where it has one.
SECOND = 1 << 62

_voice = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def ping(port: int, number: int) -> None:
    """Tell the sender that the message of this number has reached its handler now."""
    _voice.sendto(_FORM.pack(number, time.monotonic_ns()), ("127.0.0.1", port))


class Ear:
    """The sender's side."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def wait(self, number: int, *, limit_seconds: float) -> int:
        """When the message of this number reached its handler, in nanoseconds of the monotonic clock.

        Raises:
            TimeoutError: nobody said so in time.
        """
        deadline = time.monotonic() + limit_seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"message {number} did not reach its handler within {limit_seconds} s")
            self._socket.settimeout(left)
            heard, at = _FORM.unpack(self._socket.recv(_FORM.size))
            if heard == number:
                return int(at)


def amqp_url(environ: Mapping[str, str] = os.environ) -> str:
    """The RabbitMQ of this peer."""
    return environ["BENCH_AMQP_URL"]
