"""Images on the engine: there, or fetched once however many programs wait for them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import structlog
from aiodocker import Docker
from aiodocker.exceptions import DockerError
from aiodocker.jsonstream import json_stream_stream

from runner.container_config import ImageCommand
from runner.docker_connection import DockerConnection
from runner.docker_events import DockerEvents
from runner.errors import CannotRun
from runner.preparation import NOBODY, Listener, Stage
from runner.pulls import PullProgress, image_not_found, pull_failed, pull_stalled, pull_timed_out
from runner.shared_work import Progressing, SharedWork
from schemas.failpoints import failpoint
from schemas.progress_events import Phase
from schemas.reasons import Reason

log = structlog.get_logger()

#: Seconds that a pull may take.
PULL_SECONDS = 300.0
#: Seconds in which something of it must have come.
STALL_SECONDS = 60.0

#: Images that are remembered.
_MOST_KNOWN = 1_000

_NOT_FOUND = 404


class DockerImages:
    """The images of one engine."""

    def __init__(
        self,
        connection: DockerConnection,
        events: DockerEvents | None = None,
        /,
        *,
        pull_seconds: float = PULL_SECONDS,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        """With ``events`` what was found is remembered while they are heard and no image changes."""
        self._connection = connection
        self._pull_seconds = pull_seconds
        self._stall_seconds = stall_seconds
        self._pulls: SharedWork[None] = SharedWork()
        self._events = events
        if events is not None:
            events.images_changed = self._forget
        #: Name → what was found under it, as long as it is sure that a change would be heard of.
        self._known: dict[str, ImageCommand] = {}
        self._changes = 0

    def _forget(self) -> None:
        self._known.clear()
        self._changes += 1

    async def ensure(self, image: str, listener: Listener = NOBODY) -> ImageCommand:
        """What the image runs by itself; it is pulled first where it is missing, and the listener hears how that goes.

        Raises:
            CannotRun: it is missing and can't be pulled.
            EngineUnavailable: Docker is away.
        """
        command = await self.find(image)
        if command is None:
            await self._pulls.join(image, lambda progress: self._pull(image, progress), _stage(image, None), listener)
            command = await self.find(image)
        if command is None:
            raise image_not_found(image)
        return command

    async def find(self, image: str) -> ImageCommand | None:
        """What the image runs by itself; ``None`` where it is not here.

        Raises:
            CannotRun: Docker refuses the name.
            EngineUnavailable: Docker is away.
        """
        if (known := self._known.get(image)) is not None:
            return known
        hears, changes = self._events is not None and self._events.hears_of_images, self._changes
        try:
            async with self._connection.call("looking for an image") as docker:
                found = _command_of(await docker.images.inspect(image))
        except DockerError as error:
            if error.status == _NOT_FOUND:
                return None
            raise CannotRun(Reason.IMAGE_INVALID, f"Docker refuses the image '{image}': {error.message}") from error
        if hears and changes == self._changes and len(self._known) < _MOST_KNOWN:
            self._known[image] = found
        return found

    async def _pull(self, image: str, progress: Progressing) -> None:
        log.info("pulling image", action="image_pull_started", image=image)
        come = PullProgress()
        silence = asyncio.timeout(self._stall_seconds)
        try:
            async with (
                asyncio.timeout(self._pull_seconds),
                silence,
                self._connection.call("pulling an image", None) as docker,
                aclosing(_pulling(docker, image)) as messages,
            ):
                async for message in messages:
                    silence.reschedule(asyncio.get_running_loop().time() + self._stall_seconds)
                    progress(_stage(image, come.feed(message)))
        except (DockerError, TimeoutError) as error:
            log.warning("image could not be pulled", action="image_pull_failed", image=image, error=str(error) or "timeout")
            if isinstance(error, TimeoutError):
                if silence.expired():
                    raise pull_stalled(image, self._stall_seconds) from error
                raise pull_timed_out(image, self._pull_seconds) from error
            raise pull_failed(image, error.message) from error
        failpoint("docker.pulled")
        log.info("image pulled", action="image_pulled", image=image)


async def _pulling(docker: Docker, image: str) -> AsyncGenerator[dict[str, Any], None]:
    """What Docker says while it pulls."""
    # The client's own call for this leaves a connection that is broken off to the garbage collector.
    tag = {} if ":" in image.rpartition("/")[2] or "@" in image else {"tag": "latest"}
    request = docker._query("images/create", "POST", params={"fromImage": image, **tag}, timeout=None)
    async with request as response:
        try:
            async for message in json_stream_stream(response):
                yield message
        finally:
            response.close()


def _stage(image: str, percent: int | None) -> Stage:
    return Stage(Phase.PULL, f"Pulling image {image}", percent)


def _command_of(image: dict[str, Any]) -> ImageCommand:
    config = image.get("Config") or {}
    return ImageCommand(
        entrypoint=config.get("Entrypoint") or (),
        command=config.get("Cmd") or (),
        user=config.get("User") or "",
        labels=tuple(config.get("Labels") or ()),
        image_id=image["Id"],
    )
