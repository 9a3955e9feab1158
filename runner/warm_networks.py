"""The networks of warm containers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from runner.container_config import Joint
from runner.docker_sandboxes import DockerSandboxes
from runner.run_spec import RunSpec
from schemas.programs import Network

#: Seconds after a container was taken for which more are likely to be: only then are sandboxes worth what it takes to make
#: them.
_BUSY_SECONDS = 10.0


@dataclass
class WarmNetworks:
    """Lends network sandboxes to warm containers of programs that need no network."""

    sandboxes: DockerSandboxes
    docker_version: Callable[[], str]
    _taken_at: float = float("-inf")

    def note_use(self) -> None:
        """A warm container got a job."""
        self._taken_at = time.monotonic()

    async def take(self, name: str, spec: RunSpec) -> Joint | None:
        """A sandbox for the container of this name until that is gone; ``None`` where it is made without."""
        if spec.network is not Network.NONE:
            return None
        is_busy = time.monotonic() - self._taken_at < _BUSY_SECONDS
        return await self.sandboxes.take(name, spec.program_id, self.docker_version(), is_busy=is_busy)

    async def give_back(self, name: str) -> None:
        """This container is gone, or was never made. Safe to repeat."""
        await self.sandboxes.give_back(name)
