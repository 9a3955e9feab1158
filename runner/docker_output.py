"""What a container writes, byte for byte: attached to live, and continued from Docker's log where the connection was lost."""

import itertools
import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import aiohttp
from aiodocker import Docker
from aiodocker.exceptions import DockerError
from aiodocker.stream import Stream

from runner.container_config import LOG_FILE_BYTES
from runner.docker_connection import DockerConnection
from runner.engine import Frame
from runner.errors import ContainerGone, EngineUnavailable, OutOfOrder
from schemas.output import StreamName

_STREAMS = {1: StreamName.STDOUT, 2: StreamName.STDERR}
#: Docker's frame header: the stream, three bytes of nothing, the length.
_HEADER = struct.Struct(">BxxxL")

_ATTACH_SECONDS = 30.0
#: Bytes that an entry of Docker's log takes on its disk beside what was written: measured, and the larger for a part of a line.
_ENTRY_BYTES = 28
_PART_BYTES = 96


class FrameParser:
    """Cuts Docker's multiplexed stream into frames, however it arrives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with this piece."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            number, length = _HEADER.unpack_from(self._buffer)
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            content = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            if number in _STREAMS:
                yield Frame(_STREAMS[number], content)


class DockerOutput:
    """The output of one container, read once."""

    def __init__(self, connection: DockerConnection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._stream: Stream | None = None
        self._read = dict.fromkeys(StreamName, 0)
        #: Whether Docker's log was read when it was so long that its beginning may have been dropped. Docker does not tell.
        self.may_lack_beginning = False

    async def attach(self, *, with_stdin: bool = False) -> None:
        """Begin to collect what the next start writes. Before the container is started, or its first bytes would be missed.

        Raises:
            EngineUnavailable: Docker is away.
        """
        async with self._connection.call("attaching to a container", _ATTACH_SECONDS) as docker:
            await self.close()
            stream = docker.containers.container(self._name).attach(stdin=with_stdin, stdout=True, stderr=True)
            # Kept before it is opened: a cancelled opening must be closed too.
            self._stream = stream
            await stream.__aenter__()

    @property
    def has_ended(self) -> bool:
        """Whether the attached connection has ended, as it does with the container; it says so without being read."""
        queue = None if self._stream is None else self._stream._queue
        return queue is None or queue.is_eof() or queue.exception() is not None

    def rename(self, name: str) -> None:
        """The container has another name from now on."""
        self._name = name

    async def tell(self, content: bytes) -> None:
        """Write to the attached container's stdin.

        Raises:
            EngineUnavailable: the connection is lost; a part may have arrived.
        """
        if self._stream is None:
            raise OutOfOrder(f"container {self._name} was not started here")
        try:
            if self.has_ended:
                raise OSError("it has ended")
            await self._stream.write_in(content)
        # The client takes for granted that there is still a connection.
        except (DockerError, aiohttp.ClientError, OSError, RuntimeError, AssertionError) as error:
            raise EngineUnavailable(f"the connection to container {self._name} was lost") from error

    async def live(self) -> AsyncGenerator[Frame, None]:
        """What arrives on the attached connection, until it ends. That it ended says nothing about the program."""
        if self._stream is None:
            raise OutOfOrder(f"container {self._name} was not started here")
        while True:
            try:
                message = await self._stream.read_out()
            except (DockerError, aiohttp.ClientError, OSError):
                return  # lost; the caller finds out what became of the container
            if message is None:
                return
            if message.stream in _STREAMS:
                frame = Frame(_STREAMS[message.stream], message.data)
                self._read[frame.stream] += len(frame.content)
                yield frame

    async def rest(self, *, follow: bool) -> AsyncGenerator[Frame, None]:
        """What was not handed out yet, from Docker's log.

        With ``follow`` until the program ends, short of a last line without a line break, which Docker shows only to those who
        read the log afterwards. The log is read from its start, and what was already handed out is skipped. Docker keeps only
        so much of it, and drops the oldest without a word: see :attr:`may_lack_beginning`.

        Raises:
            ContainerGone: there is no such container.
            EngineUnavailable: the connection was lost.
        """
        skip = dict(self._read)
        async with aclosing(self._logged(follow)) as frames:
            async for frame in frames:
                content = frame.content[skip[frame.stream] :]
                skip[frame.stream] -= len(frame.content) - len(content)
                if content:
                    self._read[frame.stream] += len(content)
                    yield Frame(frame.stream, content)

    async def _logged(self, follow: bool) -> AsyncGenerator[Frame, None]:
        parser = FrameParser()
        on_disk = 0
        async with (
            self._connection.call("reading a container's log", None) as docker,
            _get_log(docker, self._name, follow) as response,
        ):
            if response.status == 404:
                raise ContainerGone(f"container {self._name} is gone")
            if response.status != 200:
                raise EngineUnavailable(f"Docker's log can't be read: status {response.status}")
            async for data in response.content.iter_any():
                entries = list(parser.feed(data))
                for entry in entries:
                    on_disk += len(entry.content) + (_ENTRY_BYTES if entry.content.endswith(b"\n") else _PART_BYTES)
                self.may_lack_beginning = self.may_lack_beginning or on_disk >= LOG_FILE_BYTES
                # Each line is an entry: one by one, a million of them would take a minute.
                for stream, together in itertools.groupby(entries, key=lambda entry: entry.stream):
                    yield Frame(stream, b"".join(entry.content for entry in together))

    async def close(self) -> None:
        """Let go of the connection. Safe to repeat."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()


def _get_log(docker: Docker, name: str, follow: bool) -> "aiohttp.client._RequestContextManager":
    # aiodocker's own log call decodes the bytes and loses which stream they came from.
    return docker.session.get(
        f"{docker.docker_host}/{docker.api_version}/containers/{name}/logs",
        params={"follow": str(int(follow)), "stdout": "1", "stderr": "1"},
        timeout=aiohttp.ClientTimeout(sock_connect=5),
    )
