"""What it takes to keep networks ready, for all that do: of what they are made, whether that is any gain, and their removal."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog
from aiodocker.exceptions import DockerError

from runner.docker_connection import DockerConnection
from runner.docker_images import DockerImages
from runner.errors import EngineUnavailable
from runner.identity import Identity
from runner.start_gate import StartGate

log = structlog.get_logger()

#: The first Docker that makes a network of nothing about as fast as it joins one.
_FAST_SINCE = 28
_HEAVY_CALL_SECONDS = 120.0
_NOT_FOUND = 404


class SandboxUse(StrEnum):
    """Whether programs are run in networks that are kept ready."""

    #: Where Docker is one that is made faster by it.
    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True)
class DockerNetworks:
    """Those of one runner on one engine. Each is held by a container that does nothing."""

    connection: DockerConnection
    images: DockerImages
    identity: Identity
    gate: StartGate
    use: SandboxUse
    #: Names the image to make them of: one with a shell, which no program has made.
    image: Callable[[], str]
    #: The daemon's, as it was told last.
    docker_version: Callable[[], str]

    def are_wanted(self) -> bool:
        """Whether this Docker starts containers faster with them, unless somebody has decided."""
        if self.use is SandboxUse.AUTO:
            major = re.match(r"\d+", self.docker_version())
            return major is not None and int(major[0]) < _FAST_SINCE
        return self.use is SandboxUse.ON

    async def image_id(self) -> str:
        """Docker's id of the image.

        Raises:
            EngineUnavailable: it is not there.
        """
        image = await self.images.find(self.image())
        if image is None:
            raise EngineUnavailable(f"its image {self.image()} is not here")
        return image.image_id

    async def remove(self, name: str) -> bool:
        """Remove one that nobody is in; whether it was there. What can't be removed now is nobody's, and the sweeper's."""
        try:
            async with self.connection.call("removing a network", _HEAVY_CALL_SECONDS) as docker:
                await docker.containers.container(name).delete(force=True, v=True)
                return True
        except (DockerError, EngineUnavailable) as error:
            if not (isinstance(error, DockerError) and error.status == _NOT_FOUND):
                log.warning("network not removed", action="sandbox_not_removed", sandbox=name, error=str(error))
            return False
