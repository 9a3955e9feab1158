"""Starts of containers on Docker: attached to first, one gate before all of them, and looked after where one was cut off."""

import time
from dataclasses import dataclass

import structlog
from aiodocker import Docker
from aiodocker.exceptions import DockerError

from bus.backoff import Backoff
from runner.docker_connection import DockerConnection
from runner.docker_daemon import DockerDaemon
from runner.docker_ends import DockerEnds
from runner.docker_events import DockerEvents
from runner.docker_run import DockerRun
from runner.docker_sandboxes import DockerSandboxes
from runner.docker_sight import state_of
from runner.engine import ContainerState
from runner.errors import CannotRun, ContainerGone, EngineUnavailable
from runner.start_gate import Priority, StartGate
from schemas.failpoints import failpoint
from schemas.reasons import Reason

log = structlog.get_logger()

#: Seconds in which a daemon that went away during a start must be back, for the program not to be given up.
_LOST_START_SECONDS = 60.0
#: Seconds that Docker may take to start a container: many at once wait for each other inside Docker.
_START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class DockerStarts:
    """What starts containers that were made."""

    connection: DockerConnection
    daemon: DockerDaemon
    events: DockerEvents
    sandboxes: DockerSandboxes
    gate: StartGate
    ends: DockerEnds

    async def attach_and_start(self, name: str, run: DockerRun, told: bytes | None) -> None:
        """Attach to a container, tell it what it is to be told, and start it.

        Raises:
            CannotRun: it was not and will not be started.
            EngineUnavailable: it may have been started.
        """
        try:
            await run.output.attach(with_stdin=told is not None)
            failpoint("docker.attached")
            if told is not None:
                # Before the start: Docker keeps it for the container, so that none ever runs without its order, even where this
                # process is killed in between.
                await run.output.tell(told)
                failpoint("docker.ordered")
            async with (
                self.gate.start(Priority.JOB),
                self.connection.call("starting a container", _START_SECONDS) as docker,
            ):
                run.start_asked = True
                await self._start_container(docker, name)
                failpoint("docker.started")
            if run.adopted:
                # Its output comes from the log, and who is attached and does not read would hold it up.
                await run.output.close()
        except DockerError as error:
            raise CannotRun(Reason.START_FAILED, f"The container could not be started: {error.message}") from error

    async def was_started_after_all(self, name: str, run: DockerRun) -> bool:
        """What became of a start that was cut off. It is asked for again only where it never was."""
        backoff = Backoff()
        give_up_at = time.monotonic() + _LOST_START_SECONDS
        while time.monotonic() < give_up_at:
            try:
                container = await self.ends.inspect(name)
                if state_of(container["State"]["Status"]) is not ContainerState.CREATED:
                    run.connection_lost = run.adopted = True  # all that it writes is in Docker's log
                    await run.output.close()
                    return True
                if run.start_asked:
                    if await self.daemon.has_made(container):
                        return False
                    raise CannotRun(
                        Reason.DOCKER_RESTARTED, "Docker was restarted while it started the program, which may have begun."
                    )
                await self.attach_and_start(name, run, None)
                return True
            except EngineUnavailable as error:
                log.warning("not known whether a program was started", action="engine_lost", container=name, error=str(error))
                await backoff.pause()
            except ContainerGone:
                return False
        return False

    async def _start_container(self, docker: Docker, name: str) -> None:
        self.events.await_end(name)
        try:
            await docker.containers.container(name).start()
        except DockerError:
            # Refused, so it does not run. Docker may have been restarted since its sandbox was taken.
            if not await self.sandboxes.revive(docker, name):
                raise
            await docker.containers.container(name).start()
