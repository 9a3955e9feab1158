"""Fetching images: from a registry that works, from one that says nothing, and from none."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import structlog.testing

from runner.docker_connection import DockerConnection
from runner.docker_images import DockerImages
from runner.errors import CannotRun
from schemas.reasons import Category, Reason
from schemas.status import Status
from tests.integration.runner.conftest import MakeHub
from tests.support.docker import SOCKET, docker
from tests.support.listening import Listening
from tests.support.registry import registry_served
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


async def test_fault16_one_pull_serves_all_and_goes_on_while_one_of_them_waits(
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


async def test_r12_every_waiter_hears_how_far_the_one_pull_has_come(connection: DockerConnection) -> None:
    images = DockerImages(connection)
    first, second = Listening(), Listening()
    async with registry_served() as registry:
        registry.may_finish.clear()
        try:
            pulling = [asyncio.create_task(images.ensure(registry.image, listener)) for listener in (first, second)]

            async def latest() -> list[int | None]:
                return [listener.stages[-1].percent for listener in (first, second) if listener.stages]

            # Half of the bytes are here, and nothing is unpacked.
            await eventually(latest, lambda seen: len(seen) == 2 and all(0 < (percent or 0) < 50 for percent in seen))
            registry.may_finish.set()
            one, other = await asyncio.gather(*pulling)
        finally:
            docker("rmi", registry.image, check=False)

    assert one == other
    assert list(one.command) == ["/tool", "--version"]
    assert registry.pulls == 1
    for listener in (first, second):
        assert listener.stages[0].message == f"Pulling image {registry.image}"
        shares = [stage.percent or 0 for stage in listener.stages]
        assert shares == sorted(shares)


@pytest.mark.parametrize("name", ["absent", "team/absent"])
async def test_fault16_r12_v1_an_image_that_its_registry_does_not_have_is_not_found(
    connection: DockerConnection, name: str
) -> None:
    async with registry_served() as registry:
        with pytest.raises(CannotRun) as caught:
            await DockerImages(connection).ensure(f"127.0.0.1:{registry.port}/{name}:1")

    assert registry.requests[name] >= 1
    assert caught.value.reason is Reason.IMAGE_NOT_FOUND
    assert "available in a registry. Docker says: manifest" in caught.value.message


async def test_fault16_v4_a_registry_that_can_not_be_reached_is_the_networks_fault(connection: DockerConnection) -> None:
    with pytest.raises(CannotRun) as caught:
        await DockerImages(connection).ensure("127.0.0.1:1/no/such-image:1")

    assert (caught.value.reason, caught.value.reason.category) == (Reason.NETWORK, Category.SYSTEM)
    assert caught.value.message.startswith("Docker image '127.0.0.1:1/no/such-image:1' not found and could not be pulled. ")
    assert "connection refused" in caught.value.message


async def test_fault16_a_registry_that_never_answers_costs_no_more_than_the_limit_r12(
    registry: MuteRegistry, connection: DockerConnection
) -> None:
    images = DockerImages(connection, pull_seconds=1)
    began = time.monotonic()
    with pytest.raises(CannotRun) as caught:
        await images.ensure(f"127.0.0.1:{registry.port}/mute:1")
    assert caught.value.reason is Reason.IMAGE_PULL_FAILED
    assert caught.value.message.endswith(" Pulling it took longer than 1 s.")
    assert 0.9 < time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("drips", "limits", "words"),
    [
        (False, {"pull_seconds": 30, "stall_seconds": 1.5}, "Nothing of it came for 1.5 s."),
        (True, {"pull_seconds": 3, "stall_seconds": 30}, "Pulling it took longer than 3 s."),
    ],
    ids=["stops half-way", "drips"],
)
async def test_fault16_a_pull_that_comes_to_nothing_ends_at_its_limit_r12(
    connection: DockerConnection, drips: bool, limits: dict[str, float], words: str
) -> None:
    images = DockerImages(connection, **limits)
    async with registry_served() as registry:
        registry.may_finish.clear()
        registry.drips = drips
        began = time.monotonic()
        with pytest.raises(CannotRun) as caught:
            await images.ensure(registry.image)
        took = time.monotonic() - began
    assert caught.value.reason is Reason.IMAGE_PULL_FAILED
    assert caught.value.message.endswith(words)
    assert took < min(limits.values()) + 4  # up to two seconds until its first half is here


async def test_fault16_a_manifest_of_garbage_is_a_failed_pull(connection: DockerConnection) -> None:
    async with registry_served() as registry:
        with pytest.raises(CannotRun) as caught:
            await DockerImages(connection).ensure(f"127.0.0.1:{registry.port}/garbage:1")
    assert caught.value.reason is Reason.IMAGE_PULL_FAILED
    assert "Docker says: " in caught.value.message


async def test_fault16_while_one_program_waits_for_its_image_others_run(hub: MakeHub, registry: MuteRegistry) -> None:
    around = hub("print('ran')")
    around.add_program("waits", docker_image=f"127.0.0.1:{registry.port}/mute:1")
    async with around.runner(stop_limit_seconds=0):
        waiting = await around.submit("waits")
        await eventually(registry.called)
        assert (await around.ended(await around.submit())).status is Status.COMPLETED
        assert around.events(waiting) == []
