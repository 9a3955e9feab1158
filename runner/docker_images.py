"""Images on the engine: there, or fetched once however many programs wait for them."""

import asyncio
from dataclasses import dataclass

import structlog
from aiodocker.exceptions import DockerError

from runner.container_config import ImageCommand
from runner.docker_connection import DockerConnection
from runner.errors import CannotRun
from schemas.reasons import Reason

log = structlog.get_logger()

#: Seconds that a pull may take.
PULL_SECONDS = 300.0

_NOT_FOUND = 404


def image_not_found(image: str) -> CannotRun:
    """What people are told about an image that is not to be had."""
    return CannotRun(
        Reason.IMAGE_NOT_FOUND,
        f"Docker image '{image}' not found and could not be pulled. "
        "Please ensure the image exists locally or is available in a registry.",
    )


@dataclass
class _Pull:
    task: asyncio.Task[None]
    waiting: int = 0


class DockerImages:
    """The images of one engine."""

    def __init__(self, connection: DockerConnection, *, pull_seconds: float = PULL_SECONDS) -> None:
        self._connection = connection
        self._pull_seconds = pull_seconds
        self._pulls: dict[str, _Pull] = {}

    async def ensure(self, image: str) -> ImageCommand:
        """What the image runs by itself; it is pulled first where it is missing.

        Raises:
            CannotRun: it is missing and can't be pulled.
            EngineUnavailable: Docker is away.
        """
        command = await self._inspect(image)
        if command is None:
            await self._pull_with_others(image)
            command = await self._inspect(image)
        if command is None:
            raise image_not_found(image)
        return command

    async def _inspect(self, image: str) -> ImageCommand | None:
        try:
            async with self._connection.call("looking for an image") as docker:
                config = (await docker.images.inspect(image)).get("Config") or {}
        except DockerError as error:
            if error.status == _NOT_FOUND:
                return None
            raise CannotRun(Reason.IMAGE_INVALID, f"Docker refuses the image '{image}': {error.message}") from error
        return ImageCommand(
            entrypoint=config.get("Entrypoint") or (), command=config.get("Cmd") or (), user=config.get("User") or ""
        )

    async def _pull_with_others(self, image: str) -> None:
        """One pull for all that want this image now; it goes on while one of them still waits."""
        pull = self._pulls.get(image)
        if pull is None:
            pull = self._pulls[image] = _Pull(asyncio.create_task(self._pull(image), name=f"pull {image}"))
        pull.waiting += 1
        try:
            await asyncio.shield(pull.task)
        finally:
            pull.waiting -= 1
            if pull.waiting == 0:
                # Whoever comes now begins anew, rather than joining a pull that failed or is being cancelled.
                if self._pulls.get(image) is pull:
                    del self._pulls[image]
                pull.task.cancel()
                await asyncio.gather(pull.task, return_exceptions=True)

    async def _pull(self, image: str) -> None:
        log.info("pulling image", action="image_pull_started", image=image)
        try:
            async with asyncio.timeout(self._pull_seconds), self._connection.call("pulling an image", None) as docker:
                await docker.images.pull(image)
        except (DockerError, TimeoutError) as error:
            log.warning("image could not be pulled", action="image_pull_failed", image=image, error=str(error) or "timeout")
            raise image_not_found(image) from error
        log.info("image pulled", action="image_pulled", image=image)
