"""Surroundings with the real Docker engine."""

import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.docker_engine import DockerEngine
from runner.identity import Identity
from runner.service import Runner
from runner.warm_pool import NO_POOL, PoolLimits
from schemas.events import Ended
from schemas.programs import Program
from tests.support.docker import SOCKET, docker_instance, python_image, small_image
from tests.support.runner_fixtures import Hub, make_hub, make_program
from tests.support.wait import eventually

__all__ = ["docker_instance", "python_image", "small_image"]


@pytest.fixture
def identity(docker_instance: str, request: pytest.FixtureRequest) -> Identity:
    """A runner for each test: one never sees the containers of another."""
    return Identity(docker_instance, f"r{abs(hash(request.node.nodeid)):x}")


#: For a module's ``pytestmark``: each of its tests runs in cold containers, and again in warm ones.
COLD_AND_WARM = pytest.mark.parametrize("engine", ["cold", "warm"], indirect=True)


@pytest.fixture
async def engine(identity: Identity, request: pytest.FixtureRequest) -> AsyncIterator[DockerEngine]:
    """The engine."""
    limits = PoolLimits() if getattr(request, "param", "cold") == "warm" else NO_POOL
    engine = DockerEngine(identity=identity, socket_path=SOCKET, warm_limits=limits)
    yield engine
    await engine.close()


MakeHub = Callable[..., Hub]


async def killed_for_want_of_memory(run: Callable[[], Awaitable[Ended]]) -> Ended:
    """The end of a run that Docker calls killed for want of memory; of the last of three, where it called none of them so.

    On a busy machine Docker was once seen to miss one for good; 570 in a row afterwards it did not.
    """
    for _ in range(3):
        ended = await run()
        if ended.oom_killed:
            break
    return ended


@dataclass
class WarmHub(Hub):
    """Surroundings in which an execution is asked for only once a container waits for it, where one can."""

    async def publish(self, message_id: str | None, body: Any) -> None:
        """Publish anything, as soon as it can be run warm."""
        assert isinstance(self.engine, DockerEngine)
        pool = self.engine.warm

        async def is_ready() -> bool:
            return pool.waiting > 0 or pool.lacking == 0

        await eventually(is_ready, within_seconds=60)
        await super().publish(message_id, body)

    @asynccontextmanager
    async def runner(self, *, stop_limit_seconds: float = 5.0) -> AsyncIterator[Runner]:
        """A running runner, whose process is no more afterwards: an agent listens to it no longer."""
        async with super().runner(stop_limit_seconds=stop_limit_seconds) as runner:
            yield runner
        await self.engine.close()

    @asynccontextmanager
    async def crashing_runner(self) -> AsyncIterator[Runner]:
        """The same after a SIGKILL."""
        async with super().crashing_runner() as runner:
            yield runner
        await self.engine.close()


@pytest.fixture
def hub(
    tmp_path: Path, engine: DockerEngine, identity: Identity, python_image: str, request: pytest.FixtureRequest
) -> Iterator[MakeHub]:
    """Makes surroundings whose one program, ``example``, has this source."""
    is_warm = getattr(getattr(request.node, "callspec", None), "params", {}).get("engine") == "warm"

    def make(source: str = "", *, settings: dict[str, Any] | None = None, **fields: Any) -> Hub:
        program: Program = make_program(**{"warm": 2 if is_warm else 0, **fields})
        made = make_hub(tmp_path, program, engine=engine, **{"docker_image": python_image, **(settings or {})})
        around = WarmHub(made.state_dir, made.catalogues, made.engine) if is_warm else made
        around.identity = identity
        (tmp_path / "project" / program.path / "main.py").write_text(textwrap.dedent(source))
        return around

    yield make
