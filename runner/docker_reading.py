"""What a container on Docker writes, from its first byte to its last, however often the connection is lost meanwhile."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import structlog

from bus.backoff import Backoff
from runner.docker_daemon import DockerDaemon
from runner.docker_ends import DockerEnds
from runner.docker_run import DockerRun
from runner.engine import Frame
from runner.errors import ContainerGone, EngineUnavailable

log = structlog.get_logger()


async def written(name: str, run: DockerRun, ends: DockerEnds, daemon: DockerDaemon) -> AsyncGenerator[Frame, None]:
    """What the container writes."""
    if not run.adopted:
        async with aclosing(run.output.live()) as frames:
            async for frame in frames:
                yield frame
    # An ended stream is no ended program. If Docker says at once that the program has ended, and no connection broke,
    # then all of it was here; else the rest is in Docker's log.
    backoff = Backoff()
    while True:
        try:
            has_ended = await ends.has_ended(name)
            if has_ended and not run.connection_lost:
                return
            run.connection_lost = True
            async with aclosing(run.output.rest(follow=not has_ended)) as frames:
                async for frame in frames:
                    backoff.reset()
                    yield frame
            if has_ended:
                run.adopted = False
                return
        except EngineUnavailable as error:
            run.connection_lost = True
            log.warning("output interrupted", action="output_interrupted", container=name, error=str(error))
            await daemon.note_absence()
            await backoff.pause()
        except ContainerGone:
            return  # wait() reports it
