"""Surroundings with the real Docker engine."""

import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from runner.docker_engine import DockerEngine
from runner.identity import Identity
from schemas.programs import Program
from tests.support.docker import SOCKET, docker_instance, python_image, small_image
from tests.support.runner_fixtures import Hub, make_hub, make_program

__all__ = ["docker_instance", "python_image", "small_image"]


@pytest.fixture
def identity(docker_instance: str, request: pytest.FixtureRequest) -> Identity:
    """A runner for each test: one never sees the containers of another."""
    return Identity(docker_instance, f"r{abs(hash(request.node.nodeid)):x}")


@pytest.fixture
async def engine(identity: Identity) -> AsyncIterator[DockerEngine]:
    """The engine."""
    engine = DockerEngine(identity=identity, socket_path=SOCKET)
    yield engine
    await engine.close()


MakeHub = Callable[..., Hub]


@pytest.fixture
def hub(tmp_path: Path, engine: DockerEngine, identity: Identity, python_image: str) -> MakeHub:
    """Makes surroundings whose one program, ``example``, has this source."""

    def make(source: str = "", *, settings: dict[str, Any] | None = None, **fields: Any) -> Hub:
        program: Program = make_program(**fields)
        hub = make_hub(tmp_path, program, engine=engine, **{"docker_image": python_image, **(settings or {})})
        hub.identity = identity
        (tmp_path / "project" / program.path / "main.py").write_text(textwrap.dedent(source))
        return hub

    return make
