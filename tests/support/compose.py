"""Docker Compose in both versions, side by side, below .build."""

import asyncio
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.docker import docker
from tests.support.wait import eventually

ROOT = Path(__file__).parents[2]
V2 = ROOT / ".build" / "docker-config" / "cli-plugins" / "docker-compose"
V1 = ROOT / ".build" / "compose-v1" / "docker-compose"


@dataclass(frozen=True)
class Compose:
    """A Compose to test with."""

    version: str
    path: Path


@pytest.fixture(scope="session", params=["v1", "v2"])
def compose(request: pytest.FixtureRequest) -> Compose:
    """Each of the two versions."""
    return made(request.param)


@pytest.fixture(scope="session")
def compose_v2() -> Compose:
    """Version 2 alone, where the version does not matter."""
    return made("v2")


def made(version: str) -> Compose:
    """The Compose of this version, fetched if it is not there."""
    subprocess.run([ROOT / "tools" / "compose.sh", *(["--v1"] if version == "v1" else [])], check=True)
    return Compose(version, V1 if version == "v1" else V2)


def left_of(execution_id: str) -> list[str]:
    """What there still is on Docker of an execution: containers, networks, volumes."""
    label = f"--filter=label=com.docker.compose.project=hub-{execution_id}"
    return [
        *docker("ps", "--all", "--quiet", label).split(),
        *docker("network", "ls", "--quiet", label).split(),
        *docker("volume", "ls", "--quiet", label).split(),
    ]


async def nothing_left_of(execution_id: str) -> None:
    """Wait until all of it is removed."""

    async def left() -> list[str]:
        return await asyncio.to_thread(left_of, execution_id)

    await eventually(left, lambda seen: seen == [], within_seconds=30)
