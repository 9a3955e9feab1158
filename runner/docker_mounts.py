"""Where a folder of this process is on the engine's host, when this process is itself in one of the engine's containers."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aiodocker.exceptions import DockerError

from runner.docker_connection import DockerConnection
from runner.errors import EngineUnavailable

_NOT_FOUND = 404


async def host_folder(socket_path: str, container: str, folder: Path) -> Path | None:
    """The host's path of ``folder`` in this container; ``None`` where there is no such container, or nothing is mounted there.

    Raises:
        EngineUnavailable: Docker can't be asked now.
    """
    connection = DockerConnection(socket_path)
    try:
        async with connection.call("looking at our own container") as docker:
            shown = await docker.containers.container(container).show()
    except DockerError as error:
        if error.status == _NOT_FOUND:
            return None
        raise EngineUnavailable(f"our own container can't be looked at: {error.message}") from error
    finally:
        await connection.close()
    return mounted_from(shown["Mounts"], folder)


def mounted_from(mounts: Iterable[Mapping[str, Any]], folder: Path) -> Path | None:
    """The host's path of ``folder``, from what Docker says of a container's mounts: the innermost one decides."""
    around = [mount for mount in mounts if folder.is_relative_to(mount["Destination"])]
    if not around:
        return None
    innermost = max(around, key=lambda mount: len(Path(mount["Destination"]).parts))
    return Path(innermost["Source"]) / folder.relative_to(innermost["Destination"])
