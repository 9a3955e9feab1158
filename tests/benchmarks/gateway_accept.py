"""How many executions a second a gateway accepts, each confirmed by RabbitMQ, and how many where nothing is published.

    python -m tests.benchmarks.gateway_accept amqp://user:password@host/vhost

Both gateways run in this process and take turns; the load comes from another one, over 32 connections.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from aiohttp import web

from bus.messages import Message
from bus.open import make_bus
from bus.ports import Commands
from gateway.overlay import Overlay
from gateway.server import serve
from gateway.tokens import Tokens
from hub.event_loop import EventLoop, run
from hub.log_setup import set_up_logging
from tests.support.gateway_fakes import SIGNING_KEY, USERNAME, FakeCatalogues, World, catalogue, program

CONNECTIONS = 32
_QUEUE_LENGTH = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Accepted a second, of one round or the medians of several."""

    published: float
    unpublished: float

    @property
    def ratio(self) -> float:
        """With the publish in terms of without."""
        return self.published / self.unpublished


class _Silent:
    """Commands that tell nobody."""

    async def accept(self, _pool: str, _message: Message) -> None:
        """Nothing happens."""

    async def waiting(self, _pool: str) -> int:
        """Nothing waits."""
        return 0


async def measure(url: str, *, rounds: int = 3, seconds: float = 2.0) -> Rates:
    """The medians of some rounds, in each of which both take turns."""
    with tempfile.TemporaryDirectory() as folder:
        # As in service: what is accepted is logged.
        set_up_logging("INFO", log_file=Path(folder) / "log")
        bus = make_bus(url, state_dir=Path(folder), name="benchmark")
        await bus.open(frozenset({"default"}))
        try:
            async with _gateway(bus.commands) as published, _gateway(_Silent()) as unpublished:  # type: ignore[arg-type]
                found: dict[int, list[float]] = {published: [], unpublished: []}
                for number in range(rounds):
                    for port in (published, unpublished) if number % 2 else (unpublished, published):
                        found[port].append(await _accepted_a_second(port, seconds))
        finally:
            await bus.close()
    ratio = median(one / other for one, other in zip(found[published], found[unpublished], strict=True))
    return Rates(published=median(found[unpublished]) * ratio, unpublished=median(found[unpublished]))


@asynccontextmanager
async def _gateway(commands: Commands) -> AsyncIterator[int]:
    """The port of one."""
    # Its view shows nothing: what is accepted is never swept out of the overlay.
    world = World(
        catalogues=FakeCatalogues(catalogue(program("example"))),
        queue_length=_QUEUE_LENGTH,
        overlay=Overlay(max_executions=10**9),
    )
    app: web.Application = world.app(commands=commands)
    async with serve(app, host="127.0.0.1", port=0, shutdown_seconds=0.1) as listening:
        yield listening.port


async def _accepted_a_second(port: int, seconds: float) -> float:
    token = Tokens(SIGNING_KEY).issue(USERNAME)
    load = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.gateway_accept", "load", str(port), str(seconds), token),
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await load.communicate()
    return float(told) / seconds


async def _load(port: int, seconds: float, token: str) -> int:
    body = json.dumps({"program_id": "example", "parameters": {"name": "somebody"}})
    request = (
        "POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds

    async def ask_again_and_again() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        accepted = 0
        while loop.time() < ends_at:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
            assert b" 202 " in head.split(b"\r\n")[0], head
            accepted += 1
        writer.close()
        return accepted

    return sum(await asyncio.gather(*(ask_again_and_again() for _ in range(CONNECTIONS))))


def _main(words: list[str]) -> None:
    if words[0] == "load":
        print(asyncio.run(_load(int(words[1]), float(words[2]), words[3])))  # noqa: T201
        return
    rates = run(measure(words[0]), EventLoop.AUTO)
    print(  # noqa: T201
        f"published {rates.published:.0f}/s, not published {rates.unpublished:.0f}/s: {rates.ratio:.2f}"
    )


if __name__ == "__main__":
    _main(sys.argv[1:])
