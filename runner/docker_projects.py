"""What Compose has made on Docker: containers, networks and volumes, by the labels they carry."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiodocker import Docker
from aiodocker.exceptions import DockerError
from aiodocker.volumes import DockerVolume

from runner import labels
from runner.docker_connection import DockerConnection
from runner.errors import AlreadyStarted, ContainerGone, EngineUnavailable
from runner.identity import Identity
from schemas.failpoints import failpoint

#: Compose's own labels.
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
_NUMBER = "com.docker.compose.container-number"

#: Seconds that one call may take: many at once wait for each other inside Docker.
_SECONDS = 120.0
_NOT_FOUND = 404
_CONFLICT = 409


@dataclass(frozen=True, slots=True)
class ServiceContainer:
    """A container of a service."""

    id: str
    service: str
    number: str
    #: As Docker names it: ``created``, ``running``, ``exited``.
    state: str
    labels: Mapping[str, str]

    @property
    def title(self) -> str:
        """As people see it before its output: ``web-1``."""
        return f"{self.service}-{self.number}"


class DockerProjects:
    """The Compose projects of one runner on one engine. What is another's is never listed and never removed."""

    def __init__(self, connection: DockerConnection, identity: Identity) -> None:
        self._connection = connection
        self._instance = identity.instance
        self._of_runner = [f"{labels.INSTANCE}={identity.instance}", f"{labels.RUNNER_ID}={identity.runner_id}"]

    async def containers(self, project: str) -> list[ServiceContainer]:
        """The containers of a project, running or not.

        Raises:
            EngineUnavailable: not known.
        """
        return [
            ServiceContainer(
                id=found["Id"],
                service=found["Labels"].get(SERVICE, "?"),
                number=found["Labels"].get(_NUMBER, "1"),
                state=found["State"],
                labels=found["Labels"],
            )
            for found in await self._containers([f"{PROJECT}={project}", *self._of_runner])
        ]

    async def is_anothers(self, project: str) -> bool:
        """Whether somebody else has containers under the name of this project.

        Raises:
            EngineUnavailable: not known.
        """
        own = {container.id for container in await self.containers(project)}
        return any(found["Id"] not in own for found in await self._containers([f"{PROJECT}={project}"]))

    async def health(self, container_id: str) -> str | None:
        """``starting``, ``healthy`` or ``unhealthy``; ``None`` where it has no health check.

        Raises:
            ContainerGone: there is no such container.
            EngineUnavailable: not known.
        """
        state = (await self.inspect(container_id))["State"]
        return (state.get("Health") or {}).get("Status") or None

    async def inspect(self, container_id: str) -> dict[str, Any]:
        """All that Docker knows of a container.

        Raises:
            ContainerGone: there is no such container.
            EngineUnavailable: not known.
        """
        try:
            async with self._connection.call("inspecting a container") as docker:
                return await docker.containers.container(container_id).show()
        except DockerError as error:
            if error.status == _NOT_FOUND:
                raise ContainerGone(f"container {container_id} is gone") from error
            raise EngineUnavailable(f"Docker can't tell about {container_id}: {error.message}") from error

    async def remove_never_started(self, project: str) -> None:
        """Remove the containers of a project, none of which was ever started.

        Raises:
            AlreadyStarted: one was.
            EngineUnavailable: some may still be there.
        """
        for container in await self.containers(project):
            try:
                async with self._connection.call("removing a container", _SECONDS) as docker:
                    await docker.containers.container(container.id).delete(v=True)
            except DockerError as error:
                if error.status == _CONFLICT:
                    raise AlreadyStarted(f"project {project} was started before") from error
                if error.status != _NOT_FOUND:
                    raise EngineUnavailable(f"a container of {project} can't be removed: {error.message}") from error

    async def remove(self, project: str) -> bool:
        """Remove all that belongs to a project, as ``down --volumes --remove-orphans`` does; whether there was anything.

        Raises:
            EngineUnavailable: something may still be there.
        """
        wanted = [f"{PROJECT}={project}", *self._of_runner]
        containers = await self._containers(wanted)
        for container in containers:
            async with self._call("removing a container") as docker:
                await docker.containers.container(container["Id"]).delete(force=True, v=True)
                failpoint("compose.container_removed")
        networks = await self._networks(wanted)
        for network in networks:
            async with self._call("removing a network") as docker:
                await (await docker.networks.get(network["Id"])).delete()
                failpoint("compose.network_removed")
        volumes = await self._volumes(wanted)
        for volume in volumes:
            async with self._call("removing a volume") as docker:
                volume_there = DockerVolume(docker, volume["Name"])  # type: ignore[no-untyped-call] # the library has no types there
                await volume_there.delete(force="true")  # type: ignore[no-untyped-call]
                failpoint("compose.volume_removed")
        return bool(containers or networks or volumes)

    async def remove_old_images(self) -> None:
        """Remove what this hub has built for Compose programs and has since been built anew.

        Raises:
            EngineUnavailable: Docker is away.
        """
        wanted = {"dangling": ["true"], "label": [labels.BUILT_FOR, f"{labels.INSTANCE}={self._instance}"]}
        async with self._call("listing images") as docker:
            images = await docker.images.list(filters=wanted)
        for image in images:
            with contextlib.suppress(EngineUnavailable):  # another run still uses it
                async with self._call("removing an image") as docker:
                    await docker.images.delete(image["Id"])

    async def ours(self) -> list[tuple[Mapping[str, str], str | None]]:
        """The labels of all that this runner has made with Compose, with the state where it is a container.

        Raises:
            EngineUnavailable: not known.
        """
        wanted = [*self._of_runner, labels.COMPOSE_PROJECT]
        containers = [(found["Labels"], str(found["State"])) for found in await self._containers(wanted)]
        others = [*await self._networks(wanted), *await self._volumes(wanted)]
        return [*containers, *((found["Labels"], None) for found in others)]

    async def _containers(self, wanted: list[str]) -> list[Any]:
        async with self._call("listing containers") as docker:
            return list(await docker.containers.list(all=True, filters=json.dumps({"label": wanted})))

    async def _networks(self, wanted: list[str]) -> list[dict[str, Any]]:
        async with self._call("listing networks") as docker:
            return await docker.networks.list(filters={"label": wanted})

    async def _volumes(self, wanted: list[str]) -> list[dict[str, Any]]:
        async with self._call("listing volumes") as docker:
            found = await docker.volumes.list(filters={"label": wanted})  # type: ignore[no-untyped-call]
            return list(found["Volumes"] or ())

    @asynccontextmanager
    async def _call(self, doing: str) -> AsyncIterator[Docker]:
        """A call whose object may have gone meanwhile, which is fine."""
        try:
            async with self._connection.call(doing, _SECONDS) as docker:
                yield docker
        except DockerError as error:
            if error.status != _NOT_FOUND:
                raise EngineUnavailable(f"Docker refuses ({doing}): {error.message}") from error
