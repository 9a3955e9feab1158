"""What Docker says by itself while it works: that a container of this runner has ended, and that images have changed.

Docker tells of an end as soon as it knows the exit code; whoever waits for the container, or asks about it, gets an answer only
once its network is torn down, which takes a tenth of a second and more. Nothing depends on this: what was not heard is asked.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from aiodocker.exceptions import DockerError

from bus.backoff import Backoff
from runner import labels
from runner.docker_connection import DockerConnection
from runner.errors import EngineUnavailable
from runner.identity import Identity
from runner.waiting import cancel

log = structlog.get_logger()

#: Bytes of one message of Docker's: labels are in it, and ours are short.
_MOST_BYTES = 1024 * 1024
_NANOSECONDS = 1_000_000_000


@dataclass
class _Awaited:
    """What was heard of a container since somebody began to listen for its end."""

    end: asyncio.Future[dict[str, Any]]
    started_at: str | None = None
    oom_killed: bool = False


@dataclass
class DockerEvents:
    """Listens from :meth:`begin` to :meth:`close`."""

    connection: DockerConnection
    identity: Identity
    #: Called when an image may have changed, and when changes may have been missed.
    images_changed: Callable[[], None] = lambda: None
    #: Whether changes of images are heard of right now.
    hears_of_images: bool = False
    _hears_of_ends: bool = False
    _awaited: dict[str, _Awaited] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def begin(self) -> None:
        """Begin to listen, if that was not done before."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._listen(self._of_containers), name="hear of containers' ends"),
                asyncio.create_task(self._listen(self._of_images), name="hear of images' changes"),
            ]

    async def close(self) -> None:
        """Leave off. Safe to repeat."""
        tasks, self._tasks = self._tasks, []
        await cancel(*tasks)

    def await_end(self, name: str) -> None:
        """To be called before a container is started, so that its end is not missed."""
        self.forget(name)
        if self._hears_of_ends:
            self._awaited[name] = _Awaited(asyncio.get_running_loop().create_future())

    def end_of(self, name: str) -> asyncio.Future[dict[str, Any]] | None:
        """Becomes the ``Id`` and ``State`` of the container that has ended, or is cancelled where that won't be heard of.

        ``None`` where nobody listens. It is the caller's to wait for and not to cancel.
        """
        awaited = self._awaited.get(name)
        return None if awaited is None else awaited.end

    def forget(self, name: str) -> None:
        """Nobody waits for the end of this container any more."""
        if (awaited := self._awaited.pop(name, None)) is not None:
            awaited.end.cancel()

    async def _listen(self, once: Callable[[Backoff], Coroutine[Any, Any, None]]) -> None:
        backoff = Backoff()
        while True:
            try:
                await once(backoff)
            except (EngineUnavailable, DockerError, ValueError, KeyError) as error:
                log.debug("Docker's events are not heard", action="events_lost", error=str(error))
            await backoff.pause()

    async def _of_containers(self, backoff: Backoff) -> None:
        wanted = {
            "type": ["container"],
            "event": ["start", "oom", "die"],
            "label": [f"{labels.INSTANCE}={self.identity.instance}", f"{labels.RUNNER_ID}={self.identity.runner_id}"],
        }
        rest = bytearray()
        try:
            async with aclosing(self._pieces(wanted)) as pieces:
                async for piece in pieces:
                    backoff.reset()
                    self._hears_of_ends = True
                    rest += piece
                    *lines, rest = rest.split(b"\n")
                    if len(rest) > _MOST_BYTES:
                        raise ValueError("a message without an end")
                    for line in lines:
                        self._hear(json.loads(line))
        finally:
            self._hears_of_ends = False
            for name in tuple(self._awaited):
                self.forget(name)

    def _hear(self, message: dict[str, Any]) -> None:
        said = message["Actor"]["Attributes"]
        awaited = self._awaited.get(said["name"]) or self._awaited.get(message["Actor"]["ID"])
        if awaited is None or awaited.end.done():
            return
        at = datetime.fromtimestamp(message["timeNano"] / _NANOSECONDS, UTC).isoformat()
        match message["Action"]:
            case "start":
                awaited.started_at = at
            case "oom":
                awaited.oom_killed = True
            case "die" if awaited.started_at is not None:
                state = {"Status": "exited", "ExitCode": int(said["exitCode"]), "OOMKilled": awaited.oom_killed}
                state |= {"StartedAt": awaited.started_at, "FinishedAt": at}
                awaited.end.set_result({"Id": message["Actor"]["ID"], "State": state})

    async def _of_images(self, backoff: Backoff) -> None:
        try:
            async with aclosing(self._pieces({"type": ["image"]})) as pieces:
                async for piece in pieces:
                    backoff.reset()
                    self.hears_of_images = True
                    if piece:
                        self.images_changed()
        finally:
            self.hears_of_images = False
            self.images_changed()

    async def _pieces(self, wanted: dict[str, list[str]]) -> AsyncGenerator[bytes, None]:
        """What Docker says, as it comes, after one empty piece once it listens to us."""
        async with (
            self.connection.call("listening to Docker", None) as docker,
            docker._query("events", params={"filters": json.dumps(wanted)}, timeout=None) as response,
        ):
            try:
                yield b""
                async for data in response.content.iter_any():
                    yield data
            finally:
                response.close()


def was_told(end: asyncio.Future[dict[str, Any]]) -> bool:
    """Whether the end was heard of."""
    return end.done() and not end.cancelled()
