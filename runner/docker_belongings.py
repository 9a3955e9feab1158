"""All that a runner has made on Docker, found by its labels, and removed one by one."""

import json
import time
from dataclasses import replace
from typing import Any

from aiodocker import Docker
from aiodocker.exceptions import DockerError
from aiodocker.volumes import DockerVolume

from runner import labels
from runner.belongings import Belonging, Kind, owner_of
from runner.docker_connection import DockerConnection
from runner.errors import EngineUnavailable
from runner.identity import Identity
from runner.sandbox_config import joined

#: Seconds that one call may take: many at once wait for each other inside Docker.
_SECONDS = 120.0
#: Seconds for which an image without a name may be one that is just being made.
_BEING_MADE_SECONDS = 3600.0
_NOT_FOUND = 404


class DockerBelongings:
    """What one runner has made on one engine. Of images: what its hub has made, as runners of one hub share them."""

    def __init__(self, connection: DockerConnection, identity: Identity) -> None:
        self._connection = connection
        self._of_hub = f"{labels.INSTANCE}={identity.instance}"
        self._of_runner = [self._of_hub, f"{labels.RUNNER_ID}={identity.runner_id}"]

    async def all(self) -> list[Belonging]:
        """Everything, but images only where no name leads to them any more.

        Raises:
            EngineUnavailable: not known.
        """
        wanted = {"label": self._of_runner}
        try:
            async with self._connection.call("listing what is ours", _SECONDS) as docker:
                containers = await docker.containers.list(all=True, filters=json.dumps(wanted))
                networks = await docker.networks.list(filters=wanted)
                volumes = await docker.volumes.list(filters=wanted)  # type: ignore[no-untyped-call] # the library has no types there
                images = await docker.images.list(filters={"dangling": ["true"], "label": [self._of_hub]})
        except DockerError as error:
            raise EngineUnavailable(f"Docker can't list what is ours: {error.message}") from error
        long_ago = time.time() - _BEING_MADE_SECONDS
        # Whatever is joined by a container that is still there is of use, also where an earlier life has made both.
        joins = {joined(each["HostConfig"]["NetworkMode"]) for each in containers}
        return [
            *(
                replace(
                    _belonging(Kind.CONTAINER, each["Id"], _name(each["Names"], each["Id"]), each["Labels"]),
                    is_in_use=labels.NETWORK_SANDBOX in each["Labels"] and each["Id"] in joins,
                )
                for each in containers
            ),
            *(_belonging(Kind.NETWORK, each["Id"], each["Name"], each["Labels"]) for each in networks),
            *(_belonging(Kind.VOLUME, each["Name"], each["Name"], each["Labels"]) for each in volumes["Volumes"] or ()),
            *(_belonging(Kind.IMAGE, each["Id"], each["Id"], each["Labels"]) for each in images if each["Created"] < long_ago),
        ]

    async def remove(self, belonging: Belonging) -> None:
        """Remove it, running or not. None there is no error.

        Raises:
            EngineUnavailable: it may still be there.
        """
        try:
            async with self._connection.call(f"removing a {belonging.kind}", _SECONDS) as docker:
                await _remove(docker, belonging)
        except DockerError as error:
            if error.status != _NOT_FOUND:
                raise EngineUnavailable(f"Docker can't remove {belonging.kind} {belonging.name}: {error.message}") from error


async def _remove(docker: Docker, belonging: Belonging) -> None:
    match belonging.kind:
        case Kind.CONTAINER:
            await docker.containers.container(belonging.id).delete(force=True, v=True)
        case Kind.NETWORK:
            await (await docker.networks.get(belonging.id)).delete()
        case Kind.VOLUME:
            await DockerVolume(docker, belonging.id).delete(force="true")  # type: ignore[no-untyped-call]
        case Kind.IMAGE:
            # Without force, Docker refuses where a container uses it.
            await docker.images.delete(belonging.id)


def _belonging(kind: Kind, id_: str, name: str, said: dict[str, str] | None) -> Belonging:
    # An environment inherits the labels of the container that it was made in: an image has no one owner.
    owner = None if kind is Kind.IMAGE else owner_of(said or {}, name)
    return Belonging(kind, id_, name, owner, said or {})


def _name(names: list[Any] | None, id_: str) -> str:
    # One that is being removed has lost its name already.
    return str((names or [id_])[0]).removeprefix("/")
