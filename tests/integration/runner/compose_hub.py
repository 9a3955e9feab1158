"""Surroundings whose one program is a Compose file, on the real Docker engine."""

import json
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runner.compose_command import find_command
from runner.compose_engine import ComposeEngine
from runner.docker_engine import DockerEngine
from runner.engines import Engines
from runner.identity import Identity
from tests.support.compose import Compose
from tests.support.docker import SOCKET, docker
from tests.support.runner_fixtures import Hub, make_hub, make_program

#: What services run in: a shell is all they need.
DEBIAN = "pyexecutorhub-debian:bookworm"


@asynccontextmanager
async def engines_of(identity: Identity, work_dir: Path, command: Path | str | None) -> AsyncIterator[Engines]:
    """Engines with this Compose."""
    work_dir.mkdir(exist_ok=True)
    docker_engine = DockerEngine(identity=identity, socket_path=SOCKET)
    found = await find_command(str(command)) if command else None
    compose = ComposeEngine(
        identity=identity,
        docker=docker_engine,
        work_dir=work_dir,
        socket_path=SOCKET,
        command=found,
        configured_command=str(command) if command else "/nonexistent/docker-compose",
    )
    engines = Engines(docker_engine, compose)
    yield engines
    await engines.close()


class ComposeHub:
    """Makes and edits the surroundings."""

    def __init__(self, folder: Path, identity: Identity, engines: Engines) -> None:
        self._folder = folder
        self._identity = identity
        self.engines = engines
        #: The program's folder.
        self.program = folder / "project" / "example"

    def __call__(
        self,
        file: str | dict[str, Any],
        *,
        name: str = "docker-compose.yml",
        settings: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Hub:
        """Surroundings whose program ``example`` has this Compose file."""
        program = make_program(**({"path_docker_compose_run": name} | fields))
        hub = make_hub(self._folder, program, **(settings or {}))
        hub.engine = self.engines
        hub.identity = self._identity
        text = file if isinstance(file, str) else json.dumps(file)
        path = self.program / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return hub


def remove_built_images(identity: Identity) -> None:
    """Remove what was built for a test."""
    images = docker("images", "--quiet", f"--filter=label=io.pyexecutorhub.instance={identity.instance}").split()
    if images:
        docker("rmi", "--force", *sorted(set(images)))


@pytest.fixture
async def compose_hub(tmp_path: Path, identity: Identity, compose: Compose) -> AsyncIterator[ComposeHub]:
    """With each version of Compose."""
    async with engines_of(identity, tmp_path / "work", compose.path) as engines:
        yield ComposeHub(tmp_path, identity, engines)


@pytest.fixture
async def compose_hub_v2(tmp_path: Path, identity: Identity, compose_v2: Compose) -> AsyncIterator[ComposeHub]:
    """With version 2 alone."""
    async with engines_of(identity, tmp_path / "work", compose_v2.path) as engines:
        yield ComposeHub(tmp_path, identity, engines)


@pytest.fixture(autouse=True)
def nothing_built_stays(identity: Identity) -> Iterator[None]:
    """Images go with their test."""
    yield
    remove_built_images(identity)
