"""Environments on the engine: made once for each image and requirements, and used without any network from then on."""

import asyncio
import secrets
import time
from contextlib import aclosing
from dataclasses import dataclass, replace

import structlog
from aiodocker.exceptions import DockerError

from runner import labels
from runner.container_config import ImageCommand
from runner.docker_connection import DockerConnection
from runner.docker_creation import create
from runner.docker_images import DockerImages
from runner.docker_output import DockerOutput
from runner.docker_refusals import create_refused
from runner.environment_config import (
    NO_PIP,
    REPOSITORY,
    archive,
    builder_body,
    environment_name,
    image_config,
)
from runner.errors import EngineUnavailable
from runner.identity import Identity
from runner.install_errors import InstallFailed, install_timed_out, pip_failed
from runner.lines import HUB, PIP
from runner.preparation import Listener, Stage
from runner.requirements import Requirements
from runner.run_spec import RunSpec
from runner.shared_work import Progressing, SharedWork
from runner.start_gate import StartGate
from schemas.failpoints import failpoint
from schemas.progress_events import Phase

log = structlog.get_logger()

#: Seconds that Docker may take to make, start, commit or remove.
_HEAVY_CALL_SECONDS = 120.0
#: Bytes kept of what pip says, the last ones.
_MOST_SAID = 48 * 1024
#: Environments that are kept, the last used ones …
KEPT = 50
#: … and seconds that one is kept without being used …
_UNUSED_SECONDS = 30 * 24 * 3600.0
#: … but none that was used a moment ago: an execution may be about to start in it.
_IN_USE_SECONDS = 3600.0

_NOT_FOUND = 404
#: What the init process inside the container says, and nothing else, where there is no shell: and without one no pip.
_NO_SHELL = b"[FATAL tini "


@dataclass(frozen=True, slots=True)
class _Made:
    """What came of an installation that did not fail."""

    #: Whether the image has a pip; without one nothing was installed.
    has_pip: bool
    said: bytes


class DockerEnvironments:
    """The environments of one hub on one engine."""

    def __init__(
        self,
        connection: DockerConnection,
        images: DockerImages,
        identity: Identity,
        gate: StartGate | None = None,
        *,
        kept: int = KEPT,
    ) -> None:
        self._connection = connection
        self._images = images
        self._identity = identity
        self._gate = gate or StartGate()
        self._kept = kept
        self._work: SharedWork[_Made] = SharedWork()
        #: Ids of images that were seen to have no pip.
        self._without_pip: set[str] = set()
        #: Environment → when it was last used, in seconds since 1970, by what this process has seen.
        self._used: dict[str, float] = {}
        #: Names of the containers that pip runs in right now.
        self.in_use: set[str] = set()
        #: Containers whose removal Docker did not confirm.
        self._leftovers: set[str] = set()

    async def ensure(self, spec: RunSpec, image: ImageCommand, listener: Listener) -> ImageCommand:
        """The image to run in: the environment of what the program requires, made first where it is not there.

        Raises:
            CannotRun: it can't be installed.
            EngineUnavailable: Docker is away.
        """
        wanted = spec.requirements
        if wanted is None:
            return image
        if image.image_id not in self._without_pip:
            name = environment_name(self._identity, image, wanted)
            if name in self._used:
                self._used[name] = time.time()  # before it is looked for: it must not be removed in between
            if await self._images.find(name) is not None:
                self._used[name] = time.time()
                listener.say(HUB, f"{wanted.title}: installed before\n")
                return replace(image, create_from=name)
            if await self._make_with_others(name, spec, wanted, image, listener):
                self._used[name] = time.time()
                return replace(image, create_from=name)
        listener.say(HUB, f"{wanted.title} was not installed: the image has no pip\n")
        return image

    async def find(self, spec: RunSpec, image: ImageCommand) -> ImageCommand | None:
        """The image to run in as it is now; ``None`` where its environment is still to be made.

        Raises:
            EngineUnavailable: Docker is away.
        """
        if spec.requirements is None or image.image_id in self._without_pip:
            return image
        name = environment_name(self._identity, image, spec.requirements)
        return None if await self._images.find(name) is None else replace(image, create_from=name)

    async def _make_with_others(
        self, name: str, spec: RunSpec, wanted: Requirements, image: ImageCommand, listener: Listener
    ) -> bool:
        """Whether the environment is there now; false where the image has no pip. The listener hears what pip said."""
        try:
            made = await self._work.join(
                name, lambda progress: self._make(name, spec, wanted, image, progress), _stage(wanted, ""), listener
            )
        except InstallFailed as error:
            listener.say(PIP, error.said)
            raise
        listener.say(PIP, made.said)
        return made.has_pip

    async def _make(self, name: str, spec: RunSpec, wanted: Requirements, image: ImageCommand, progress: Progressing) -> _Made:
        log.info("installing requirements", action="install_started", program_id=spec.program_id, environment=name)
        began = time.monotonic()
        said = bytearray()
        container = f"{name.replace(':', '-')}-{secrets.token_hex(4)}"
        self.in_use.add(container)
        try:
            async with asyncio.timeout(wanted.timeout_seconds):
                exit_code = await self._run_pip(container, spec, wanted, image, said, progress)
            if exit_code == NO_PIP or said.startswith(_NO_SHELL):
                self._without_pip.add(image.image_id)
                return _Made(has_pip=False, said=b"")
            if exit_code != 0:
                raise pip_failed(spec.program_id, wanted.title, exit_code, bytes(said))
            await self._commit(container, name, image)
        except TimeoutError as error:
            raise install_timed_out(spec.program_id, wanted.title, wanted.timeout_seconds, bytes(said)) from error
        finally:
            try:
                await self._remove(container)
            finally:
                self.in_use.discard(container)
        log.info("requirements installed", action="installed", environment=name, seconds=round(time.monotonic() - began, 1))
        await self._tidy()
        return _Made(has_pip=True, said=bytes(said))

    async def _run_pip(
        self,
        container: str,
        spec: RunSpec,
        wanted: Requirements,
        image: ImageCommand,
        said: bytearray,
        progress: Progressing,
    ) -> int:
        """Run pip in a container of this name, and collect what it says; its exit code."""
        output = DockerOutput(self._connection, container)
        try:
            async with self._connection.call("making a container for pip", _HEAVY_CALL_SECONDS) as docker:
                made = await create(docker, builder_body(spec, wanted, image, self._identity), container)
                failpoint("docker.builder_created")
                await made.put_archive("/", archive(spec, wanted))  # type: ignore[no-untyped-call]
                failpoint("docker.builder_filled")
            await output.attach()
            async with self._gate.start(), self._connection.call("starting pip", _HEAVY_CALL_SECONDS) as docker:
                await docker.containers.container(container).start()
                failpoint("docker.pip_started")
            async with aclosing(output.live()) as frames:
                async for frame in frames:
                    said += frame.content
                    del said[:-_MOST_SAID]
                    progress(_stage(wanted, _last_line(said)))
            async with self._connection.call("waiting for pip", None) as docker:
                exit_code: int = (await docker.containers.container(container).wait())["StatusCode"]
                failpoint("docker.pip_ended")
                return exit_code
        except DockerError as error:
            raise create_refused(error, spec, spec.image) from error
        finally:
            await output.close()

    async def _commit(self, container: str, name: str, image: ImageCommand) -> None:
        repository, _, tag = name.partition(":")
        try:
            async with self._connection.call("keeping what pip installed", _HEAVY_CALL_SECONDS) as docker:
                await docker.containers.container(container).commit(repository=repository, tag=tag, config=image_config(image))
                failpoint("docker.environment_kept")
        except DockerError as error:
            raise EngineUnavailable(f"Docker can't keep what pip installed: {error.message}") from error

    async def _remove(self, container: str) -> None:
        """Remove a container, and those that could not be removed before. What is left is the next start's to clear away."""
        self._leftovers.add(container)
        for name in tuple(self._leftovers):
            try:
                async with self._connection.call("removing a container", _HEAVY_CALL_SECONDS) as docker:
                    await docker.containers.container(name).delete(force=True, v=True)
            except (DockerError, EngineUnavailable) as error:
                if not (isinstance(error, DockerError) and error.status == _NOT_FOUND):
                    log.warning("container not removed", action="container_not_removed", container=name, error=str(error))
                    continue
            failpoint("docker.builder_removed")
            self._leftovers.discard(name)

    async def _tidy(self) -> None:
        """Remove the environments that nobody has used for long. Whoever needs one again makes it again."""
        wanted = {"label": [f"{labels.INSTANCE}={self._identity.instance}"], "reference": [REPOSITORY]}
        try:
            async with self._connection.call("listing environments") as docker:
                images = await docker.images.list(filters=wanted)
        except (DockerError, EngineUnavailable) as error:
            log.warning("environments can't be listed", action="environments_not_listed", error=str(error))
            return
        used = {name: max(image["Created"], self._used.get(name, 0.0)) for image in images for name in image["RepoTags"] or ()}
        for name in to_remove(used, kept=self._kept, now=time.time()):
            try:
                async with self._connection.call("removing an environment", _HEAVY_CALL_SECONDS) as docker:
                    # Without force, Docker refuses where a container uses it; and nothing but this name is removed.
                    await docker.images.delete(name, noprune=True)
            except (DockerError, EngineUnavailable) as error:
                log.info("environment stays", action="environment_kept", environment=name, error=str(error))
            else:
                self._used.pop(name, None)
                log.info("environment removed", action="environment_removed", environment=name)


def to_remove(used: dict[str, float], *, kept: int, now: float) -> list[str]:
    """Which environments are not to be kept, by when each was used last. Times in seconds since 1970."""
    newest_first = sorted(used, key=lambda name: used[name], reverse=True)
    return [
        name
        for place, name in enumerate(newest_first)
        if (place >= kept or used[name] < now - _UNUSED_SECONDS) and used[name] < now - _IN_USE_SECONDS
    ]


def _stage(wanted: Requirements, doing: str) -> Stage:
    return Stage(Phase.INSTALL, f"Installing {wanted.title}" + (f": {doing}" if doing else ""))


def _last_line(said: bytearray) -> str:
    lines = bytes(said[-2_000:]).decode("utf-8", "replace").splitlines()
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")
