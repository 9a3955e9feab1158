"""A proxy before a TCP server that can hold back what the server says, and lose its connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class HeldProxy:
    """Passes bytes on; while it holds, nothing of the server's arrives, and all that is sent to the server does."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        #: Where it listens on 127.0.0.1.
        self.port = 0

    def hold(self) -> None:
        """From now on nothing of the server's arrives."""
        self._flows.clear()

    def lose(self) -> None:
        """Lose all connections, with what was held back, and pass on what comes over new ones."""
        for writer in self._writers:
            writer.transport.abort()
        self._flows.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(self._copy(reader, there_writer, held=False), self._copy(there_reader, writer, held=True))
        finally:
            self._writers -= {writer, there_writer}
            writer.transport.abort()
            there_writer.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, held: bool) -> None:
        try:
            while data := await source.read(65536):
                if held:
                    await self._flows.wait()
                sink.write(data)
                await sink.drain()
        except (OSError, RuntimeError):
            pass
        finally:
            sink.transport.abort()


@asynccontextmanager
async def held_proxy(target_port: int) -> AsyncIterator[HeldProxy]:
    """A proxy before this port of 127.0.0.1."""
    proxy = HeldProxy(target_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.lose()
        await asyncio.sleep(0.05)  # the aborted connections' handlers end
