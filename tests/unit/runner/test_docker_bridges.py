"""What is kept ready without any engine to make it on."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from runner import docker_bridges
from runner.docker_bridges import DockerBridges
from runner.docker_connection import DockerConnection
from runner.docker_images import DockerImages
from runner.docker_networks import DockerNetworks, SandboxUse
from runner.errors import EngineUnavailable
from runner.identity import Identity
from runner.start_gate import StartGate
from schemas.programs import Network
from tests.support.wait import eventually
from tests.unit.runner.test_container_config import SPEC

BRIDGED = replace(SPEC, network=Network.BRIDGE)


@pytest.fixture
async def connection(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DockerConnection]:
    monkeypatch.setattr(docker_bridges, "_CALM_SECONDS", 0.05)
    connection = DockerConnection("/nowhere/docker.sock")
    yield connection
    await connection.close()


def bridges(connection: DockerConnection, gate: StartGate, use: SandboxUse = SandboxUse.ON) -> DockerBridges:
    networks = DockerNetworks(
        connection,
        DockerImages(connection),
        Identity("hub", "runner"),
        gate,
        use=use,
        image=lambda: "base",
        docker_version=lambda: "20.10",
    )
    return DockerBridges(networks)


async def test_one_is_made_only_once_nothing_else_is_started(connection: DockerConnection) -> None:
    made: list[str] = []
    gate = StartGate(1)
    kept = bridges(connection, gate)

    async def make(name: str) -> object:
        made.append(name)
        raise EngineUnavailable("there is none")

    kept._make = make  # type: ignore[method-assign, assignment]

    async def tries() -> list[str]:
        return made

    async with gate.start():
        assert await kept.take(SPEC.name, BRIDGED) is None
        with pytest.raises(AssertionError):
            await eventually(tries, within_seconds=0.3)
    await eventually(tries, within_seconds=5)
    await kept.close()
    assert kept.in_use == frozenset()


@pytest.mark.parametrize(
    ("use", "network"), [(SandboxUse.OFF, Network.BRIDGE), (SandboxUse.ON, Network.NONE)], ids=["off", "without a network"]
)
async def test_none_is_kept_for_who_would_not_use_it(connection: DockerConnection, use: SandboxUse, network: Network) -> None:
    kept = bridges(connection, StartGate(1), use)
    assert await kept.take(SPEC.name, replace(SPEC, network=network)) is None
    assert kept._keeper is None
    await kept.close()


async def test_once_closed_none_is_given_out_or_made(connection: DockerConnection) -> None:
    kept = bridges(connection, StartGate(1))
    await kept.close()
    assert await kept.take(SPEC.name, BRIDGED) is None
    assert kept._keeper is None
