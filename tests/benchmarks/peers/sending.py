"""The sender of a peer: told over its stdin how many to send, answers with a line of JSON.

They are sent one by one, each confirmed by the broker, the next one when the handler has said that it was reached. All that
are asynchronous run on uvloop, as the hub's services do.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from hub.event_loop import EventLoop, run
from tests.benchmarks.peers.ping import SECOND, Ear

#: Sends one message with (port, number) in it; the broker has it when this returns.
Send = Callable[[int, int], None]
SendAsync = Callable[[int, int], Awaitable[None]]
#: Seconds between two messages.
_PAUSE_SECONDS = 0.004
#: The first waits for its worker to start.
_FIRST_SECONDS, _NEXT_SECONDS = 60.0, 20.0
#: The stdout that answers go to. What libraries print there goes to stderr instead.
_ANSWERS, sys.stdout = sys.stdout, sys.stderr


class _Round:
    def __init__(self, *, second: bool) -> None:
        self._ear = Ear()
        self._number = 0
        self._second = second

    @property
    def port(self) -> int:
        return self._ear.port

    def next(self) -> int:
        self._number += 1
        return self._number

    def heard(self, number: int, began: int, sent: int, into: dict[str, list[float]]) -> None:
        limit_seconds = _FIRST_SECONDS if number == 1 else _NEXT_SECONDS
        into["handler_ms"].append((self._ear.wait(number, limit_seconds=limit_seconds) - began) / 1e6)
        into["confirmed_ms"].append((sent - began) / 1e6)
        if self._second:
            into["second_ms"].append((self._ear.wait(number + SECOND, limit_seconds=limit_seconds) - began) / 1e6)


def _answer(told: dict[str, list[float]]) -> None:
    _ANSWERS.write(json.dumps(told) + "\n")
    _ANSWERS.flush()


def _fresh() -> dict[str, list[float]]:
    return {"handler_ms": [], "confirmed_ms": [], "second_ms": []}


def _orders() -> "list[str]":
    return sys.stdin.readline().split()


def serve(send: Send) -> None:
    """Obey until stdin ends."""
    this = _Round(second=False)
    while words := _orders():
        told = _fresh()
        for _ in range(int(words[0])):
            number = this.next()
            began = time.monotonic_ns()
            send(this.port, number)
            this.heard(number, began, time.monotonic_ns(), told)
            time.sleep(_PAUSE_SECONDS)
        _answer(told)


async def _serve_async(opening: AbstractAsyncContextManager[SendAsync], *, second: bool) -> None:
    this = _Round(second=second)
    async with opening as send:
        while words := await asyncio.to_thread(_orders):
            told = _fresh()
            for _ in range(int(words[0])):
                number = this.next()
                began = time.monotonic_ns()
                await send(this.port, number)
                await asyncio.to_thread(this.heard, number, began, time.monotonic_ns(), told)
                await asyncio.sleep(_PAUSE_SECONDS)
            _answer(told)


def serve_async(opening: AbstractAsyncContextManager[SendAsync], *, second: bool = False) -> None:
    """The same for what is asynchronous. ``second``: the handler pings twice."""
    with contextlib.suppress(KeyboardInterrupt):
        run(_serve_async(opening, second=second), EventLoop.AUTO)
