"""Attempts in warm containers on Docker: told what to run, watched by what their agents say, taken up after a crash."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from enum import Enum, auto

import structlog

from bus.backoff import Backoff
from runner.docker_connection import DockerConnection
from runner.docker_ends import DockerEnds
from runner.docker_run import DockerRun
from runner.docker_sight import state_of
from runner.docker_warm_log import settled
from runner.engine import ContainerState, Frame
from runner.errors import EngineUnavailable, NotAdoptable
from runner.steps import Step
from runner.warm_frames import End
from runner.warm_plan import WarmPlan
from runner.warm_run import Sighting, WarmRun
from schemas.failpoints import failpoint

log = structlog.get_logger()

#: Seconds in which an agent begins what it is told, and ends where it is to.
_AGENT_SECONDS = 10.0
#: Seconds in which a daemon that went away as a step was to begin must be back, for the program not to be given up.
_LOST_START_SECONDS = 60.0
#: Seconds after which a wait for a frame looks whether the container still runs.
_LOOK_SECONDS = 60.0
_KILL_SECONDS = 10.0


class Begun(Enum):
    """What became of a step that an agent was told to begin."""

    YES = auto()
    #: Nothing has ever begun in the container, which has ended.
    NEVER = auto()
    #: The container has ended after an earlier step: started once more, it goes on with this one.
    TO_BE_RESTARTED = auto()


class DockerWarmRuns:
    """What is done with warm containers that have a job."""

    def __init__(self, connection: DockerConnection, ends: DockerEnds) -> None:
        self._connection = connection
        self._ends = ends

    async def begin(self, name: str, run: DockerRun, warm: WarmRun, step: Step, told: bytes) -> Begun:
        """Have the agent begin a step.

        Raises:
            ContainerGone: there is no such container.
            EngineUnavailable: it may have begun.
        """
        warm.order(step)
        if warm.is_listening:
            if await self._has_begun(run, warm, step, told):
                return Begun.YES
            # The agent is gone, or the connection is; or it does not listen, because a program has forged its own end.
            warm.is_listening = False
            await run.output.close()
            sight = await self._settled_patiently(name, warm.plan, step)
            if sight.has_begun and sight.last in (None, step):
                run.connection_lost = True
                return Begun.YES
            if not sight.has_begun:
                return Begun.NEVER
        if not await self._ends.ended_within(name, _AGENT_SECONDS):
            await self._ends.signal(name, "SIGKILL")
            await self._ends.ended_within(name, _KILL_SECONDS)
        return Begun.TO_BE_RESTARTED

    async def _settled_patiently(self, name: str, plan: WarmPlan, step: Step) -> Sighting:
        """The same as :meth:`settled`, also where Docker is away for a while."""
        backoff = Backoff()
        give_up_at = time.monotonic() + _LOST_START_SECONDS
        while True:
            try:
                return await self.settled(name, plan, step)
            except EngineUnavailable as error:
                if time.monotonic() > give_up_at:
                    raise
                log.warning("not known whether a program was started", action="engine_lost", container=name, error=str(error))
                await backoff.pause()

    async def _has_begun(self, run: DockerRun, warm: WarmRun, step: Step, told: bytes) -> bool:
        try:
            async with asyncio.timeout(_AGENT_SECONDS):
                await run.output.tell(told)
                failpoint("docker.told")
                async with aclosing(run.output.live()) as frames:
                    async for frame in frames:
                        warm.feed(frame)
                        if warm.begun is step:
                            failpoint("docker.begun")
                            return True
        except (EngineUnavailable, TimeoutError):
            pass
        return False

    async def take_up(self, name: str, plan: str | None) -> WarmRun | None:
        """What an earlier process has begun in a container; ``None`` where that is nothing, and never will be anything.

        Raises:
            NotAdoptable: it is not known what the agent was told.
            ContainerGone: there is no such container.
            EngineUnavailable: not known.
        """
        try:
            known = WarmPlan.model_validate_json(plan or "")
        except ValueError as error:
            raise NotAdoptable(f"it is not known what container {name} was told") from error
        sight = await self.settled(name, known)
        if not sight.has_begun:
            return None
        warm = WarmRun(known, "", is_listening=False, from_the_start=sight.is_whole, has_begun=True)
        warm.begun = warm.current = sight.last
        return warm

    async def settled(self, name: str, plan: WarmPlan | None = None, step: Step | None = None) -> Sighting:
        """See :func:`runner.docker_warm_log.settled`."""
        ends = self._ends
        return await settled(
            self._connection, name, ends.inspect, lambda name: ends.signal(name, "SIGKILL"), plan=plan, step=step
        )

    async def unwrapped(
        self, run: DockerRun, warm: WarmRun, written: AsyncGenerator[Frame, None]
    ) -> AsyncGenerator[Frame, None]:
        """What the program writes, of all that the container does."""
        for frame in warm.hand_out():
            yield frame
        if warm.end is not None:
            return
        async with aclosing(written):
            async for frame in written:
                has_ended = warm.feed(frame)
                for piece in warm.hand_out():
                    yield piece
                if has_ended:
                    run.adopted = False
                    return
        warm.lose()
        for frame in warm.hand_out():
            yield frame

    async def end_of(self, name: str, run: DockerRun, warm: WarmRun) -> End | None:
        """How the step ended, where its agent knows all of that; ``None`` where the container ends too: Docker knows more."""
        while not warm.told.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await warm.told.wait()
                    break
            with suppress(EngineUnavailable):
                # Whoever reads its output may be slow, and the connection may be lost without a word.
                if state_of((await self._ends.inspect(name))["State"]["Status"]) is not ContainerState.RUNNING:
                    run.connection_lost = True
                    warm.is_listening = False
                    return None
        if warm.end is not None and warm.end.is_clean:
            return warm.end
        warm.is_listening = False
        if warm.end is not None:
            with suppress(EngineUnavailable):
                # The agent ends with this. Where it does not, a program has forged that.
                if not await self._ends.ended_within(name, _AGENT_SECONDS):
                    await self._ends.signal(name, "SIGKILL")
        return None
