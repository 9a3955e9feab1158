"""A proxy that can lose its connections, as a restarted server does, or keep them in silence, as a lost network does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class CutProxy:
    """Passes bytes on, until it is told to cut or to stall."""

    def __init__(self, reach: Callable[[], Awaitable[Streams]]) -> None:
        """``reach`` connects to the server."""
        self._reach = reach
        self._writers: set[asyncio.StreamWriter] = set()
        self._refusing = False
        self._flowing = asyncio.Event()
        self._flowing.set()

    def cut(self) -> None:
        """Drop every connection, and refuse new ones until :meth:`mend`."""
        self._refusing = True
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Pass nothing on, in either direction, and tell nobody; until :meth:`mend`."""
        self._flowing.clear()

    def mend(self) -> None:
        """Accept connections again, and let them flow."""
        self._refusing = False
        self._flowing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self._refusing:
            writer.transport.abort()
            return
        there_reader, there_writer = await self._reach()
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(self._copy(reader, there_writer), self._copy(there_reader, writer))
        finally:
            self._writers -= {writer, there_writer}
            writer.transport.abort()
            there_writer.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
            await self._flowing.wait()  # nor does the end of a connection come through
            sink.write_eof()
        except (OSError, RuntimeError):
            sink.transport.abort()


@asynccontextmanager
async def cut_proxy(socket_path: Path, target: str) -> AsyncIterator[CutProxy]:
    """A proxy that listens on the unix socket ``socket_path``, before another one."""
    proxy = CutProxy(lambda: asyncio.open_unix_connection(target))
    async with _served(proxy, await asyncio.start_unix_server(proxy.serve, socket_path)):
        yield proxy


@asynccontextmanager
async def tcp_cut_proxy(port: int, target_port: int) -> AsyncIterator[CutProxy]:
    """A proxy on a port of this machine, before another one."""
    proxy = CutProxy(lambda: asyncio.open_connection("127.0.0.1", target_port))
    async with _served(proxy, await asyncio.start_server(proxy.serve, "127.0.0.1", port)):
        yield proxy


@asynccontextmanager
async def _served(proxy: CutProxy, server: asyncio.Server) -> AsyncIterator[None]:
    try:
        yield
    finally:
        server.close()
        proxy.mend()
        proxy.cut()
        await asyncio.sleep(0.05)  # the aborted connections' handlers end
