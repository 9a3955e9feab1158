"""Fetching images from a registry that accepts connections and says nothing."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import structlog.testing

from runner.docker_connection import DockerConnection
from runner.docker_images import DockerImages
from runner.errors import CannotRun
from schemas.reasons import Reason
from tests.support.docker import SOCKET
from tests.support.wait import eventually


class MuteRegistry:
    """Takes calls and never answers."""

    def __init__(self) -> None:
        self.port = 0
        self.connections: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections.append(writer)
        await reader.read()
        writer.close()

    async def called(self) -> int:
        """How often it was called."""
        return len(self.connections)


@pytest.fixture
async def registry() -> AsyncIterator[MuteRegistry]:
    """A registry on this machine, which Docker talks to in the clear."""
    registry = MuteRegistry()
    server = await asyncio.start_server(registry.serve, "127.0.0.1", 0)
    registry.port = server.sockets[0].getsockname()[1]
    yield registry
    server.close()
    for connection in registry.connections:
        connection.transport.abort()
    await asyncio.sleep(0.05)  # the aborted connections' handlers end


@pytest.fixture
async def connection() -> AsyncIterator[DockerConnection]:
    """A connection to Docker."""
    connection = DockerConnection(SOCKET)
    yield connection
    await connection.close()


async def test_one_pull_serves_all_and_goes_on_while_one_of_them_waits(
    registry: MuteRegistry, connection: DockerConnection
) -> None:
    images = DockerImages(connection, pull_seconds=30)
    image = f"127.0.0.1:{registry.port}/mute:1"
    with structlog.testing.capture_logs() as logs:
        waiting = [asyncio.create_task(images.ensure(image)) for _ in range(3)]
        await eventually(registry.called)
        waiting[0].cancel()
        await asyncio.sleep(0.1)
        assert [task.done() for task in waiting] == [True, False, False]
        waiting[1].cancel()
        waiting[2].cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting, return_exceptions=True)
    assert all(task.cancelled() for task in waiting)
    assert [entry["action"] for entry in logs] == ["image_pull_started"]


async def test_a_registry_that_never_answers_costs_no_more_than_the_limit_r12(
    registry: MuteRegistry, connection: DockerConnection
) -> None:
    images = DockerImages(connection, pull_seconds=1)
    began = time.monotonic()
    with pytest.raises(CannotRun) as caught:
        await images.ensure(f"127.0.0.1:{registry.port}/mute:1")
    assert caught.value.reason is Reason.IMAGE_NOT_FOUND
    assert 0.9 < time.monotonic() - began < 3
