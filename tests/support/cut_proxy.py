"""A proxy on a unix socket that can lose its connections, as a restarted server does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class CutProxy:
    """Passes bytes on, until it is told to cut."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._refusing = False

    def cut(self) -> None:
        """Drop every connection, and refuse new ones until :meth:`mend`."""
        self._refusing = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Accept connections again."""
        self._refusing = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self._refusing:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        finally:
            self._writers -= {writer, there_writer}
            writer.transport.abort()
            there_writer.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.write_eof()
    except (OSError, RuntimeError):
        sink.transport.abort()


@asynccontextmanager
async def cut_proxy(socket_path: Path, target: str) -> AsyncIterator[CutProxy]:
    """A proxy that listens on ``socket_path``."""
    proxy = CutProxy(target)
    server = await asyncio.start_unix_server(proxy.serve, socket_path)
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await asyncio.sleep(0.05)  # the aborted connections' handlers end
