"""Making a container on Docker, whole or not at all."""

from collections.abc import Mapping
from typing import Any

from aiodocker import Docker
from aiodocker.containers import DockerContainer

from runner.waiting import finished


async def create(docker: Docker, body: Mapping[str, Any], name: str) -> DockerContainer:
    """Make a container. Who is cancelled meanwhile waits until it is made, for a while: so it can be removed by its name.

    Docker goes on with what it was asked for, and lists a container a moment before it knows it by its name: what is removed
    too early is not there yet, and then stays.

    Raises:
        DockerError: Docker refuses.
    """
    return await finished(docker.containers.create(body, name=name))
