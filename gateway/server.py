"""Listening for HTTP, and stopping in good order."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web

from gateway.connections import ConnectionsRunner
from gateway.errors import CannotListen
from gateway.keys import LEAVING

log = structlog.get_logger()

#: Seconds that requests in progress may still take when the gateway stops.
SHUTDOWN_SECONDS = 3.0
#: Seconds a connection may stay open without a request.
KEEP_ALIVE_SECONDS = 75.0


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the gateway is reached."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address for people and clients on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 -- compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@asynccontextmanager
async def serve(
    app: web.Application,
    *,
    host: str,
    port: int,
    leave_seconds: float = 0.0,
    shutdown_seconds: float = SHUTDOWN_SECONDS,
) -> AsyncIterator[Listening]:
    """Answer requests inside the context. Port 0 lets the system choose; what is yielded says which.

    Where the context is left in good order it goes on answering for ``leave_seconds``, and says that it is not ready, so that a
    load balancer looks elsewhere before nobody listens here any more.

    Raises:
        CannotListen: the address is in use, not ours, or may not be had.
    """
    runner = ConnectionsRunner(app, shutdown_seconds=shutdown_seconds, keepalive_timeout=KEEP_ALIVE_SECONDS)
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise CannotListen(host, port, _why(error)) from error
        listening = Listening(host, runner.addresses[0][1])
        log.info("gateway listening", action="gateway_listening", url=listening.url)
        yield listening
        app[LEAVING].set()
        await asyncio.sleep(leave_seconds)
    finally:
        await runner.cleanup()


def _why(error: OSError) -> str:
    # asyncio puts the address into the text once more; the number alone gives the plain reason.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)
