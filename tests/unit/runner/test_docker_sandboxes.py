from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from runner.docker_connection import DockerConnection
from runner.docker_images import DockerImages
from runner.docker_networks import DockerNetworks, SandboxUse
from runner.docker_sandboxes import DockerSandboxes
from runner.identity import Identity
from runner.start_gate import StartGate
from schemas.programs import Network
from tests.unit.runner.test_container_config import SPEC

ALONE = replace(SPEC, network=Network.NONE)


@pytest.fixture
async def connection() -> AsyncIterator[DockerConnection]:
    connection = DockerConnection("/nowhere/docker.sock")
    yield connection
    await connection.close()


def sandboxes(connection: DockerConnection, use: SandboxUse, version: str = "20.10") -> DockerSandboxes:
    networks = DockerNetworks(
        connection,
        DockerImages(connection),
        Identity("hub", "runner"),
        StartGate(1),
        use=use,
        image=lambda: "base",
        docker_version=lambda: version,
    )
    return DockerSandboxes(networks)


@pytest.mark.parametrize(
    ("use", "version", "wanted"),
    [
        (SandboxUse.AUTO, "20.10.24+dfsg1", True),
        (SandboxUse.AUTO, "27.5.1", True),
        (SandboxUse.AUTO, "28.0.0", False),
        (SandboxUse.AUTO, "", False),
        (SandboxUse.AUTO, "dev", False),
        (SandboxUse.ON, "28.0.0", True),
        (SandboxUse.OFF, "20.10.24", False),
    ],
)
async def test_sandboxes_are_for_engines_that_gain_by_them_unless_somebody_decided(
    connection: DockerConnection, use: SandboxUse, version: str, wanted: bool
) -> None:
    kept = sandboxes(connection, use, version)
    # With no engine to make one on, nobody gets one; whether one is wanted shows by its being made.
    assert await kept.take(SPEC.name, ALONE) is None
    assert bool(kept.in_use) is wanted
    await kept.give_back(SPEC.name)
    await kept.close()
    assert kept.in_use == frozenset()


async def test_nothing_is_made_once_they_are_closed(connection: DockerConnection) -> None:
    kept = sandboxes(connection, SandboxUse.ON)
    await kept.close()
    assert await kept.take(SPEC.name, ALONE) is None
    assert kept.in_use == frozenset()
