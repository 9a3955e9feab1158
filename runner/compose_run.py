"""One Compose project in motion: its services started as what they need is ready, watched, and stopped.

The program has ended when every service that no other needs has ended, or at once when any service ends with another exit code
than 0 or can't be started. What still runs then is stopped, a service after all that need it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import structlog

from runner.compose_merging import Merging
from runner.compose_output import PrefixedLines, prefixes
from runner.compose_project import Condition, Project
from runner.docker_engine import DockerEngine
from runner.docker_projects import DockerProjects, ServiceContainer
from runner.docker_times import moment
from runner.engine import NO_ORDER, Exit, Frame, Order
from runner.errors import CannotRun, ContainerGone, EngineUnavailable, Interrupted
from runner.waiting import cancel, surely, unless
from schemas.failpoints import failpoint
from schemas.output import StreamName

log = structlog.get_logger()

#: Frames that may wait for their reader; then the services are slowed down.
_MOST_FRAMES = 16
#: Seconds between two looks at a health check; Docker gives no sign.
_HEALTH_PAUSE_SECONDS = 0.25
_TERMINATED = 143


class _NotStarted(Exception):
    """A service can't be started, with the reason for people."""


@dataclass(eq=False)
class _Member:
    """A container of the project."""

    container: ServiceContainer
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    exit: Exit | None = None
    watching: asyncio.Task[None] | None = None


class ComposeRun:
    """The containers of one project, which were made and not started. See :mod:`runner.engine` for the order of calls."""

    def __init__(
        self,
        project: Project,
        containers: Sequence[ServiceContainer],
        docker: DockerEngine,
        projects: DockerProjects,
        *,
        stop_grace_seconds: float,
        check: Callable[[], Awaitable[None]],
        order: Order = NO_ORDER,
    ) -> None:
        """``check`` raises ``CannotRun`` where what is bound is no longer what it was; it is asked around each start.
        ``order`` is that of the output which an earlier life of the runner has published.
        """
        self._order = order
        self._check = check
        self._project = project
        self._docker = docker
        self._projects = projects
        self._grace_seconds = stop_grace_seconds
        self._members = [_Member(each) for each in sorted(containers, key=lambda each: each.title)]
        #: Set when nothing more is to be started.
        self._halt = asyncio.Event()
        #: Set when nothing more will be started.
        self._settled = asyncio.Event()
        #: The verdict, as soon as there is one.
        self._over: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        #: Services of which an earlier life has not started everything, until that goes on here.
        self._still_to_start: list[str] = []
        self._bringing_up: asyncio.Task[None] | None = None
        self._living: asyncio.Task[Exit] | None = None
        for member in self._members:
            docker.take_over(member.container.id)

    @property
    def titles(self) -> tuple[str, ...]:
        """Of all its containers; the place of each is its number in :attr:`runner.engine.Frame.source`."""
        return tuple(member.container.title for member in self._members)

    @property
    def container_ids(self) -> list[str]:
        """Of all its containers."""
        return [member.container.id for member in self._members]

    async def start(self) -> None:
        """Start the services that need no other; the rest follows by itself.

        Raises:
            CannotRun: one of them can't be started.
            EngineUnavailable: some of them may have been started.
        """
        rest = []
        for name, service in self._project.services.items():
            if service.needs:
                rest.append(name)
            else:
                await self._start_service(name)
        self._bringing_up = asyncio.create_task(self._bring_up(rest), name="start the other services")
        self._living = asyncio.create_task(self._live(), name="see the services to their end")

    async def take_up(self) -> None:
        """Take up what an earlier life of the runner has started of it, in place of :meth:`start`. Nothing is started twice:
        what Docker knows to have run is only watched. What is still to be started follows once somebody waits for the end.

        Raises:
            ContainerGone: a container is not there any more.
            EngineUnavailable: not known.
        """
        # Asked one by one: Docker answers only after it has carried out an order to start that is on its way.
        states = {member: (await self._projects.inspect(member.container.id))["State"] for member in self._members}
        for member, state in states.items():
            if state["Status"] != "created":
                await self._docker.adopt(member.container.id)
                member.started.set()
        if not any(member.started.is_set() for member in self._members):
            return  # :meth:`start` has still to come
        ended = [member for member in self._members if states[member]["Status"] in ("exited", "dead")]
        # In the order in which they ended: the first that decides decides, whatever came after it.
        for member in sorted(ended, key=lambda member: moment(states[member]["FinishedAt"])):
            self._ended(member, await self._docker.wait(member.container.id))
        for member in self._members:
            if member.started.is_set() and not member.ended.is_set():
                self._watch_from_now_on(member)
        left = {member.container.service for member in self._members if not member.started.is_set()}
        self._still_to_start = [name for name in self._project.services if name in left]
        self._living = asyncio.create_task(self._live(), name="see the services to their end")

    async def output(self) -> AsyncGenerator[Frame, None]:
        """What all services write, each line under its service's name."""
        frames: asyncio.Queue[tuple[int, Frame | None]] = asyncio.Queue(_MOST_FRAMES)
        beginnings = prefixes(self.titles)
        merging = Merging(self._order, range(len(self._members)))
        readers = [
            asyncio.create_task(self._read(number, PrefixedLines(beginnings[member.container.title]), frames))
            for number, member in enumerate(self._members)
        ]
        left = len(readers)
        try:
            while left:
                number, frame = await frames.get()
                left -= frame is None
                due = merging.end(number) if frame is None else merging.add(number, frame.stream, frame.content)
                for each in due:
                    yield each
            for reader in readers:
                await reader
        finally:
            await cancel(*readers)

    async def wait(self) -> Exit:
        """How it ended, once nothing of it runs any more.

        Raises:
            ContainerGone: somebody removed a container.
        """
        if self._living is None:
            return Exit(_TERMINATED)
        if self._bringing_up is None:
            self._bringing_up = asyncio.create_task(self._bring_up(self._still_to_start), name="start the other services")
        return await asyncio.shield(self._living)

    async def stop(self, grace_seconds: float) -> None:
        """Stop all of it: SIGTERM, and SIGKILL after the grace.

        Raises:
            EngineUnavailable: some of it may still run.
        """
        self._halt.set()
        if self._bringing_up is not None:
            await asyncio.wait({self._bringing_up})
        self._settled.set()
        stop_by = time.monotonic() + grace_seconds
        for group in self._project.stop_order():
            left = max(0.0, stop_by - time.monotonic())
            members = [member for member in self._members if member.container.service in group]
            await asyncio.gather(*(self._stop_member(member, left) for member in members))
        if watching := {member.watching for member in self._members if member.watching is not None}:
            await asyncio.wait(watching)
        self._decide(Exit(_TERMINATED))

    async def close(self) -> None:
        """Let go of it; its containers are left alone."""
        tasks = [self._bringing_up, self._living, *(member.watching for member in self._members)]
        await cancel(*(task for task in tasks if task is not None))
        if not self._over.done():
            self._over.cancel()
        elif not self._over.cancelled():
            self._over.exception()  # known to whoever waited

    # Starting

    async def _start_service(self, name: str) -> None:
        await self._check()
        for member in self._of(name):
            if member.started.is_set():
                continue  # by an earlier life
            await self._docker.start(member.container.id)
            failpoint("compose.service_started")
            member.started.set()
            self._watch_from_now_on(member)
        await self._check()

    async def _bring_up(self, names: Sequence[str]) -> None:
        """Start these services, each as soon as what it needs is ready."""
        try:
            await asyncio.gather(*(self._start_when_ready(name) for name in names))
        finally:
            self._settled.set()

    async def _start_when_ready(self, name: str) -> None:
        try:
            for need, condition in self._project.services[name].needs.items():
                await unless(self._halt, self._ready(need, condition))
            if not self._halt.is_set() and not self._over.done():
                await self._start_service(name)
        except Interrupted:
            return
        except _NotStarted as error:
            self._decide(Exit(1, service=name, failure=f"{error}, so service '{name}' was not started"))
        except (CannotRun, EngineUnavailable) as error:
            self._decide(Exit(1, service=name, failure=f"Service '{name}' could not be started: {error}"))
        except Exception as error:
            self._fail(error)

    async def _ready(self, name: str, condition: Condition) -> None:
        for member in self._of(name):
            await member.started.wait()
            if condition is Condition.HEALTHY:
                await self._healthy(member)
            elif condition is Condition.COMPLETED:
                await member.ended.wait()
                if member.exit is None or member.exit.code != 0:
                    raise _NotStarted(f"Service '{name}' failed")

    async def _healthy(self, member: _Member) -> None:
        name = member.container.service
        while True:
            try:
                health = await self._projects.health(member.container.id)
            except (EngineUnavailable, ContainerGone):
                health = "unknown"
            if health == "healthy":
                return
            if member.ended.is_set():
                raise _NotStarted(f"Service '{name}' ended before it was healthy")
            if health == "unhealthy":
                raise _NotStarted(f"Service '{name}' did not become healthy")
            if health is None:
                raise _NotStarted(f"Service '{name}' has no health check")
            await asyncio.sleep(_HEALTH_PAUSE_SECONDS)

    # Watching

    def _watch_from_now_on(self, member: _Member) -> None:
        member.watching = asyncio.create_task(self._watch(member), name=f"watch {member.container.title}")

    async def _watch(self, member: _Member) -> None:
        """See one container to its end."""
        try:
            end = await self._docker.wait(member.container.id)
        except Exception as error:
            # It is gone, most likely; whatever it is, whoever waits must hear of it.
            self._fail(error)
            return
        self._ended(member, end)

    def _ended(self, member: _Member, end: Exit) -> None:
        """Decide what the end of one container means for all."""
        service = self._project.services[member.container.service]
        member.exit = replace(end, service=service.name, memory_bytes=service.memory_bytes)
        member.ended.set()
        if end.code != 0 or end.engine_restarted:
            self._decide(member.exit)
        elif all(other.ended.is_set() for name in self._project.last for other in self._of(name)):
            self._decide(Exit(0, oom_killed=any(each.exit.oom_killed for each in self._members if each.exit)))

    def _decide(self, verdict: Exit) -> None:
        """The first verdict stands."""
        if not self._over.done():
            self._over.set_result(verdict)

    def _fail(self, error: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(error)

    async def _live(self) -> Exit:
        await asyncio.wait({self._over})
        await self._stop_rest()
        return self._over.result()

    async def _stop_rest(self) -> None:
        def delayed(error: EngineUnavailable) -> None:
            log.warning("services not stopped yet", action="execution_not_stopped", error=str(error))

        await surely(lambda: self.stop(self._grace_seconds), delayed)

    async def _stop_member(self, member: _Member, grace_seconds: float) -> None:
        # Also one that is not known to run: the answer to its start may have got lost.
        if not member.ended.is_set():
            await self._docker.stop(member.container.id, grace_seconds)

    # Output

    async def _read(self, number: int, lines: PrefixedLines, frames: asyncio.Queue[tuple[int, Frame | None]]) -> None:
        member = self._members[number]
        try:
            await self._started_or_settled(member)
            if member.started.is_set():
                async with aclosing(self._docker.output(member.container.id)) as written:
                    async for frame in written:
                        if content := lines.add(frame.stream, frame.content):
                            await frames.put((number, Frame(frame.stream, content)))
            for stream in StreamName:
                if content := lines.rest(stream):
                    await frames.put((number, Frame(stream, content)))
        finally:
            await frames.put((number, None))

    async def _started_or_settled(self, member: _Member) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (member.started, self._settled)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(*waits)

    def _of(self, service: str) -> list[_Member]:
        return [member for member in self._members if member.container.service == service]
