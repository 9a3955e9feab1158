"""How programs end on Docker: heard of, asked for, brought about. Whatever becomes of the daemon meanwhile."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from aiodocker.exceptions import DockerError

from bus.backoff import Backoff
from runner.docker_connection import DockerConnection
from runner.docker_daemon import DockerDaemon
from runner.docker_events import DockerEvents, was_told
from runner.docker_refusals import lookup_failed
from runner.docker_run import DockerRun
from runner.docker_sight import state_of
from runner.engine import ContainerState
from runner.errors import ContainerGone, EngineUnavailable
from runner.waiting import cancel
from schemas.failpoints import failpoint

log = structlog.get_logger()

#: Seconds after which a wait asks again: the answer to a wait has been seen to get lost.
_WAIT_SECONDS = 60.0
#: Seconds between SIGKILL and the container being gone, at most.
_KILL_SECONDS = 10.0
#: Word of an OOM kill reaches Docker beside the exit and may come a moment after it: on a busy machine, a second after.
_OOM_NEWS_SECONDS = 0.1
_OOM_NEWS_LOOKS = 30
_PING_SECONDS = 5.0

_NOT_FOUND = 404
_CONFLICT = 409
_KILLED = 137
#: Exit codes from here on say that a signal ended it.
_FIRST_SIGNAL = 128


class DockerEnds:
    """The ends of containers, by their names."""

    def __init__(
        self, connection: DockerConnection, daemon: DockerDaemon, events: DockerEvents, runs: Mapping[str, DockerRun]
    ) -> None:
        """``runs`` is what the engine knows of containers; a lost connection is noted in there."""
        self._connection = connection
        self._daemon = daemon
        self._events = events
        self._runs = runs

    async def of(self, name: str) -> dict[str, Any]:
        """What Docker knows of it once it does not run: as it says by itself, or as it is asked, whichever comes first."""
        told = self._events.end_of(name)
        if told is None:
            return await self._until_ended(name)
        asking = asyncio.create_task(self._until_ended(name), name="wait for a container")
        try:
            await asyncio.wait((asking, told), return_when=asyncio.FIRST_COMPLETED)
            if was_told(told) and not self._was_stopped(name):
                # What a signal ended may have been ended for want of memory, which Docker may still be about to notice.
                container = told.result()
                if container["State"]["ExitCode"] < _FIRST_SIGNAL:
                    return container
            return await asking
        finally:
            await cancel(asking)

    async def has_ended(self, name: str) -> bool:
        """Whether it runs no more, and Docker answers."""
        told = self._events.end_of(name)
        if told is None:
            return await self._if_ended(name) is not None
        asking = asyncio.create_task(self._if_ended(name), name="ask about a container")
        try:
            await asyncio.wait((asking, told), return_when=asyncio.FIRST_COMPLETED)
            if not was_told(told):
                return await asking is not None
            # A daemon that was killed in this moment has not said all, on any of its connections.
            async with (
                self._connection.call("pinging", _PING_SECONDS) as docker,
                docker.session.get(f"{docker.docker_host}/_ping") as answer,
            ):
                await answer.read()
            return True
        finally:
            await cancel(asking)

    async def stop(self, name: str, grace_seconds: float) -> None:
        """End the program: see :meth:`runner.engine.Engine.stop`."""
        if (run := self._runs.get(name)) is not None:
            run.stopped = True
        if not await self.signal(name, "SIGTERM") or await self.ended_within(name, grace_seconds):
            return
        if await self.signal(name, "SIGKILL") and not await self.ended_within(name, _KILL_SECONDS):
            raise EngineUnavailable(f"container {name} still runs {_KILL_SECONDS} s after SIGKILL")

    async def signal(self, name: str, signal: str) -> bool:
        """Send a signal; whether there was something to send it to.

        Raises:
            EngineUnavailable: it may have been sent.
        """
        try:
            async with self._connection.call(f"sending {signal}") as docker:
                await docker.containers.container(name).kill(signal=signal)
                failpoint("docker.signalled")
        except DockerError as error:
            if error.status in (_NOT_FOUND, _CONFLICT):
                return False
            raise EngineUnavailable(f"Docker can't send {signal} to {name}: {error.message}") from error
        return True

    async def ended_within(self, name: str, seconds: float) -> bool:
        """Whether it runs no more after at most so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._until_ended(name)
        except TimeoutError:
            return False
        except ContainerGone:
            return True
        return True

    async def inspect(self, name: str) -> dict[str, Any]:
        """What Docker knows of a container.

        Raises:
            ContainerGone: there is none.
            EngineUnavailable: not known.
        """
        try:
            async with self._connection.call("inspecting a container") as docker:
                return await docker.containers.container(name).show()
        except DockerError as error:
            raise lookup_failed(error, name) from error

    async def _until_ended(self, name: str) -> dict[str, Any]:
        """What Docker knows of it once it does not run."""
        backoff = Backoff()
        while True:
            try:
                await self._wait_once(name)
                if (container := await self._if_ended(name)) is not None:
                    return container
                backoff.reset()
            except EngineUnavailable as error:
                if (run := self._runs.get(name)) is not None:
                    run.connection_lost = True
                log.warning("Docker was lost while a program runs", action="engine_lost", container=name, error=str(error))
                await self._daemon.note_absence()
                await backoff.pause()

    async def _wait_once(self, name: str) -> None:
        try:
            async with asyncio.timeout(_WAIT_SECONDS), self._connection.call("waiting for a container", None) as docker:
                await docker.containers.container(name).wait()
        except TimeoutError:
            pass
        except DockerError as error:
            raise lookup_failed(error, name) from error

    async def _if_ended(self, name: str) -> dict[str, Any] | None:
        """What Docker knows of a program that has ended; ``None`` while it runs."""
        container = await self.inspect(name)
        state = container["State"]
        if state_of(state["Status"]) is ContainerState.RUNNING:
            return None
        if state["ExitCode"] == _KILLED and not state["OOMKilled"] and not self._was_stopped(name):
            for _ in range(_OOM_NEWS_LOOKS):
                await asyncio.sleep(_OOM_NEWS_SECONDS)
                container = await self.inspect(name)
                if container["State"]["OOMKilled"]:
                    break
        return container

    def _was_stopped(self, name: str) -> bool:
        run = self._runs.get(name)
        return run is not None and run.stopped
