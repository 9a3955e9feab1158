"""Looking at containers, for the runner and for people who ask: nothing here changes anything."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from runner import labels
from runner.belongings import WAITING
from runner.docker_connection import DockerConnection
from runner.docker_output import FrameParser
from runner.engine import ContainerState, Found, Frame, RunningContainer, Tail
from runner.errors import ContainerGone, EngineUnavailable
from runner.identity import Identity
from runner.tail_buffer import TailBuffer
from runner.warm_frames import without_frames
from schemas.output import StreamName

_NOT_FOUND = 404
_STATES = {"created": ContainerState.CREATED, "running": ContainerState.RUNNING, "paused": ContainerState.RUNNING}
#: Bytes of a log that are read at most, whatever Docker takes for a line.
_MOST_READ_BYTES = 16 * 1024**2


class DockerSight:
    """The containers of one runner on one engine."""

    def __init__(self, connection: DockerConnection, identity: Identity) -> None:
        self._connection = connection
        self._wanted = [f"{labels.INSTANCE}={identity.instance}", f"{labels.RUNNER_ID}={identity.runner_id}"]

    async def running(self) -> list[RunningContainer]:
        """See :meth:`runner.engine.Engine.list_running`."""
        return [
            RunningContainer(
                container_id=container["Id"],
                name=_name(container),
                image=container["Image"],
                status=container["Status"],
                labels=container["Labels"],
            )
            for container in await self._list(with_ended=False)
            if not is_waiting(_name(container), container["Labels"])
        ]

    async def ours(self) -> list[Found]:
        """See :meth:`runner.engine.Engine.list_ours`."""
        return [
            Found(_name(container), state_of(container["State"]), container["Labels"])
            for container in await self._list(with_ended=True)
            if not is_waiting(_name(container), container["Labels"])
        ]

    async def _list(self, *, with_ended: bool) -> list[DockerContainer]:
        try:
            async with self._connection.call("listing containers") as docker:
                found = await docker.containers.list(all=with_ended, filters=json.dumps({"label": self._wanted}))
        except DockerError as error:
            raise EngineUnavailable(f"Docker can't list containers: {error.message}") from error
        return [container for container in found if labels.NETWORK_SANDBOX not in container["Labels"]]

    async def tail(self, container_id: str, lines: int, most_bytes: int) -> Tail:
        """See :meth:`runner.engine.Engine.tail`."""
        tail = await self._tail(container_id, lines, most_bytes)
        return Tail(without_frames(tail.stdout), without_frames(tail.stderr), tail.truncated)

    async def _tail(self, container_id: str, lines: int, most_bytes: int) -> Tail:
        end = TailBuffer(most_bytes)
        read_bytes = 0
        async with aclosing(self._frames(container_id, lines)) as frames:
            async for frame in frames:
                end.feed(frame)
                read_bytes += len(frame.content)
                if read_bytes >= _MOST_READ_BYTES:
                    return end.tail(truncated=True)
        return end.tail()

    async def _frames(self, container_id: str, lines: int) -> AsyncGenerator[Frame, None]:
        try:
            async with self._connection.call("reading the end of a log") as docker:
                has_terminal = (await docker.containers.container(container_id).show())["Config"]["Tty"]
                # aiodocker's own log call decodes the bytes and loses which stream they came from.
                async with docker.session.get(
                    f"{docker.docker_host}/{docker.api_version}/containers/{container_id}/logs",
                    params={"stdout": "1", "stderr": "1", "tail": str(lines)},
                ) as response:
                    if response.status == _NOT_FOUND:
                        raise ContainerGone(f"container {container_id} is gone")
                    if response.status != 200:
                        raise EngineUnavailable(f"Docker's log can't be read: status {response.status}")
                    parser = FrameParser()
                    async for data in response.content.iter_any():
                        # With a terminal (a Compose file may want one) there is one stream, and no frames around it.
                        for frame in [Frame(StreamName.STDOUT, data)] if has_terminal else parser.feed(data):
                            yield frame
        except aiohttp.ClientError as error:
            raise EngineUnavailable(f"Docker's log was cut off: {error}") from error
        except DockerError as error:
            if error.status == _NOT_FOUND:
                raise ContainerGone(f"container {container_id} is gone") from error
            raise EngineUnavailable(f"Docker can't tell about {container_id}: {error.message}") from error


def is_waiting(name: str, said: Mapping[str, str]) -> bool:
    """Whether a container was made for a job that it has not been given: it has a name of its own as long as it waits."""
    return labels.WARM in said and name.startswith(WAITING)


def state_of(status: str) -> ContainerState:
    """What Docker's word for a container's state means here."""
    return _STATES.get(status, ContainerState.ENDED)


def _name(container: DockerContainer) -> str:
    # One that is being removed has lost its name already.
    name: str = (container["Names"] or [container["Id"]])[0]
    return name.removeprefix("/")
