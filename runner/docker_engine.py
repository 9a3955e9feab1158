"""The engine that is Docker, over its API. See runner.engine for the contract."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from aiodocker.exceptions import DockerError

from runner import labels
from runner.belongings import Belonging
from runner.container_config import ImageCommand, create_body, join, order
from runner.docker_belongings import DockerBelongings
from runner.docker_bridges import DockerBridges
from runner.docker_connection import DockerConnection
from runner.docker_creation import create
from runner.docker_daemon import DockerDaemon
from runner.docker_ends import DockerEnds
from runner.docker_environments import DockerEnvironments
from runner.docker_events import DockerEvents
from runner.docker_images import DockerImages
from runner.docker_networks import DockerNetworks, SandboxUse
from runner.docker_output import DockerOutput
from runner.docker_probe import look_for_commands
from runner.docker_reading import written
from runner.docker_refusals import create_refused
from runner.docker_run import DockerRun
from runner.docker_sandboxes import DockerSandboxes
from runner.docker_sight import DockerSight, state_of
from runner.docker_starts import DockerStarts
from runner.docker_version import DockerVersion
from runner.docker_warm import DockerWarm
from runner.docker_warm_runs import Begun, DockerWarmRuns
from runner.engine import (
    NEVER,
    NO_ORDER,
    ContainerState,
    Exit,
    Found,
    Frame,
    Order,
    Prepared,
    RunningContainer,
    Spec,
    Tail,
)
from runner.errors import AlreadyStarted, CannotRun, ContainerGone, EngineUnavailable, NeverStarted, OutOfOrder
from runner.identity import Identity
from runner.preparation import NOBODY, Listener
from runner.run_spec import RunSpec
from runner.start_gate import Priority, StartGate
from runner.steps import Step
from runner.waiting import cancel, surely
from runner.warm_plan import plan_warm
from runner.warm_pool import NO_POOL, PoolLimits, Warm
from runner.warm_run import WarmRun
from schemas.failpoints import failpoint
from schemas.reasons import Reason
from schemas.settings import DEFAULT_IMAGE

log = structlog.get_logger()

#: Seconds that Docker may take to create or remove a container: many at once wait for each other inside Docker.
_HEAVY_CALL_SECONDS = 120.0
_PING_SECONDS = 5.0

_NOT_FOUND = 404
_CONFLICT = 409


class DockerEngine:
    """Containers on the Docker engine behind a unix socket."""

    def __init__(
        self,
        *,
        identity: Identity,
        socket_path: str = "/var/run/docker.sock",
        gate: StartGate | None = None,
        sandbox_use: SandboxUse = SandboxUse.OFF,
        sandbox_image: Callable[[], str] = lambda: DEFAULT_IMAGE,
        warm_limits: PoolLimits = NO_POOL,
    ) -> None:
        """The ``gate`` is passed by all that starts containers on this engine; by default it has its own.

        ``sandbox_use`` says whether programs run in networks that are kept ready, and ``sandbox_image`` of which image what
        holds those is made. Within ``warm_limits`` it keeps containers warm; by default none.
        """
        self.identity = identity
        self._gate = gate or StartGate()
        self._connection = DockerConnection(socket_path)
        self._daemon = DockerDaemon(socket_path)
        self._events = DockerEvents(self._connection, identity)
        self._images = DockerImages(self._connection, self._events)
        self._sight = DockerSight(self._connection, identity)
        self._belongings = DockerBelongings(self._connection, identity)
        self._environments = DockerEnvironments(self._connection, self._images, identity, self._gate)
        self._version = DockerVersion(self._connection, self._daemon)
        networks = DockerNetworks(
            self._connection,
            self._images,
            identity,
            self._gate,
            use=sandbox_use,
            image=sandbox_image,
            docker_version=lambda: self._version.last,
        )
        self._sandboxes = DockerSandboxes(networks)
        self._bridges = DockerBridges(networks)
        #: What it keeps warm.
        self.warm = DockerWarm(
            self._connection,
            self._images,
            self._environments,
            self._gate,
            warm_limits,
            self._sandboxes,
        )
        self._runs: dict[str, DockerRun] = {}
        self._ends = DockerEnds(self._connection, self._daemon, self._events, self._runs)
        self._starts = DockerStarts(self._connection, self._daemon, self._events, self._sandboxes, self._gate, self._ends)
        self._warm_runs = DockerWarmRuns(self._connection, self._ends)

    async def ping(self) -> str:
        """See :meth:`runner.engine.Engine.ping`."""
        return f"Docker {await self._version.now()}"

    async def data_root(self) -> Path | None:
        """See :meth:`runner.engine.Engine.data_root`."""
        try:
            async with self._connection.call("asking where Docker keeps its data", _PING_SECONDS) as docker:
                info = await docker.system.info()
        except DockerError as error:
            raise EngineUnavailable(f"Docker answers, but badly: {error.message}") from error
        self._gate.learn_cores(info.get("NCPU", 0))
        told = info.get("DockerRootDir")
        return Path(told) if told else None

    async def prepare(self, spec: Spec, listener: Listener = NOBODY) -> Prepared:
        """See :meth:`runner.engine.Engine.prepare`."""
        if not isinstance(spec, RunSpec):
            raise CannotRun(
                Reason.UNSUPPORTED, f"Program '{spec.program_id}' is run by a Compose file, which Docker alone can't do"
            )
        self._events.begin()
        image = await self._image_for(spec, listener)
        return await self._prepare_warm(spec, image) or await self._prepare_cold(spec, image)

    async def take_warm(self, spec: Spec) -> Prepared | None:
        """See :meth:`runner.engine.Engine.take_warm`."""
        if not isinstance(spec, RunSpec) or (expected := self.warm.expected_image(spec)) is None:
            return None
        self._events.begin()
        # Both at once, as each takes Docker a moment; the image has hardly ever changed since it was looked at.
        looking = asyncio.create_task(self.warm.image_of(spec), name=f"look for {spec.image}")
        try:
            prepared = await self._prepare_warm(spec, expected)
            if prepared is not None and await looking != expected:
                await self.destroy(spec.name)
                return None
        finally:
            await cancel(looking)
        return prepared

    async def _image_for(self, spec: RunSpec, listener: Listener) -> ImageCommand:
        return await self._environments.ensure(spec, await self._images.ensure(spec.image, listener), listener)

    async def _prepare_warm(self, spec: RunSpec, image: ImageCommand) -> Prepared | None:
        plan = plan_warm(spec, image) if self.warm.waiting else None
        if plan is None or (taken := await self.warm.take(spec, image)) is None:
            return None
        self._runs[spec.name] = DockerRun(taken.output, warm=WarmRun(plan, taken.name), spec=spec)
        return Prepared(
            taken.container_id,
            spec.actions if taken.has_python else frozenset(),
            notes=tuple(f"preload: {name} could not be imported: {why}" for name, why in taken.ready.failed.items()),
            plan=plan.kept(needs_steps=bool(spec.actions)).model_dump_json(),
            was_warm=True,
        )

    async def _prepare_cold(self, spec: RunSpec, image: ImageCommand) -> Prepared:
        joint = await self._sandboxes.take(spec.name, spec) or await self._bridges.take(spec.name, spec)
        container_id = await self._create(spec, join(create_body(spec, image), joint))
        actions = spec.actions
        if spec.actions:
            found = await look_for_commands(self._connection, spec.name)
            if not found.python:
                actions = frozenset()
            if not found.shell:
                # The program itself may need none.
                spec = replace(spec, actions=frozenset(), host_actions=None)
                container_id = await self._create(spec, join(create_body(spec, image), joint))
        self._runs[spec.name] = DockerRun(DockerOutput(self._connection, spec.name), takes_orders=bool(spec.actions))
        return Prepared(container_id, actions)

    async def _create(self, spec: RunSpec, body: Mapping[str, Any]) -> str:
        for _ in range(2):
            try:
                async with (
                    self._gate.start(Priority.JOB),
                    self._connection.call("creating a container", _HEAVY_CALL_SECONDS) as docker,
                ):
                    created = await create(docker, body, spec.name)
                    failpoint("docker.created")
                    return created.id
            except DockerError as error:
                if error.status != _CONFLICT:
                    raise create_refused(error, spec, body["Image"]) from error
            await self._remove_never_started(spec)
        raise EngineUnavailable(f"the name {spec.name} stays taken")

    async def _remove_never_started(self, spec: RunSpec) -> None:
        found = await self.find(spec.name)
        if found is None:
            return
        if (found.labels.get(labels.INSTANCE), found.labels.get(labels.RUNNER_ID)) != (
            self.identity.instance,
            self.identity.runner_id,
        ):
            raise CannotRun(Reason.INTERNAL, f"A container that is not this runner's has the name {spec.name}")
        if found.state is not ContainerState.CREATED:
            raise AlreadyStarted(f"container {spec.name} was started before")
        if labels.WARM in found.labels:
            await self._remove_never_begun(spec.name)
            return
        try:
            async with self._connection.call("removing a container", _HEAVY_CALL_SECONDS) as docker:
                # Without force: Docker refuses if it has been started since we looked.
                await docker.containers.container(spec.name).delete(v=True)
                failpoint("docker.never_started_removed")
        except DockerError as error:
            if error.status == _CONFLICT:
                raise AlreadyStarted(f"container {spec.name} was started before") from error
            if error.status != _NOT_FOUND:
                raise EngineUnavailable(f"container {spec.name} can't be removed: {error.message}") from error

    async def _remove_never_begun(self, name: str) -> None:
        """Remove a warm container in which nothing has begun."""
        if (run := self._runs.get(name)) is not None:
            await run.output.close()  # so that nothing ever will
        try:
            sight = await self._warm_runs.settled(name)
        except ContainerGone:
            return
        if sight.has_begun:
            raise AlreadyStarted(f"container {name} was started before")
        await self.destroy(name)

    def take_over(self, name: str) -> None:
        """Take over a container that was made by somebody else and not started yet; it is started by :meth:`start`."""
        self._events.begin()
        self._runs.setdefault(name, DockerRun(DockerOutput(self._connection, name)))

    async def start(self, name: str, step: Step = Step.PROGRAM, *, exit_code: int = 0) -> None:
        """See :meth:`runner.engine.Engine.start`."""
        run = self._prepared(name)
        if run.warm is not None:
            await self._start_warm(name, run, run.warm, step, exit_code)
            return
        if step is not Step.PROGRAM and not run.takes_orders:
            raise OutOfOrder(f"container {name} can run no actions")
        run.stopped = run.start_asked = False
        run.connection_lost = run.adopted
        told = order(step, exit_code) if run.takes_orders else None
        try:
            await self._starts.attach_and_start(name, run, told)
        except EngineUnavailable:
            # What was told went to a daemon that may be gone, and an earlier step's output stands before this one's in the log.
            if run.takes_orders or not await self._starts.was_started_after_all(name, run):
                raise

    async def _start_warm(self, name: str, run: DockerRun, warm: WarmRun, step: Step, exit_code: int) -> None:
        told = warm.plan.line(step, exit_code)
        if told is None:
            raise CannotRun(Reason.INTERNAL, f"The agent in container {name} can't be told to run {step.value}")
        run.stopped = run.start_asked = False
        begun = await self._warm_runs.begin(name, run, warm, step, told)
        if begun is Begun.NEVER and run.spec is not None:
            log.warning("warm container did not begin, starting cold", action="warm_missed", container=name)
            await self.destroy(name)
            await self._prepare_cold(run.spec, await self._image_for(run.spec, NOBODY))
            await self.start(name, step, exit_code=exit_code)
        elif begun is not Begun.YES:
            # As a container with several steps that is no warm one: it goes on with what it has.
            run.connection_lost = run.adopted
            await self._starts.attach_and_start(name, run, told)
            warm.is_listening = not run.adopted

    async def adopt(self, name: str, plan: str | None = None, order: Order = NO_ORDER) -> None:  # noqa: ARG002
        """See :meth:`runner.engine.Engine.adopt`. Of one container, Docker knows all there is to know."""
        config = (await self._ends.inspect(name))["Config"]
        if (earlier := self._runs.pop(name, None)) is not None:
            await earlier.output.close()
            await self._is_gone(earlier)
        warm = None
        if labels.WARM in (config["Labels"] or {}) and (warm := await self._warm_runs.take_up(name, plan)) is None:
            await self.destroy(name)
            raise NeverStarted(f"nothing had begun in container {name}")
        # All of it is in Docker's log, and nothing of it on a connection of ours.
        self._runs[name] = DockerRun(
            DockerOutput(self._connection, name),
            connection_lost=True,
            adopted=True,
            takes_orders=bool(config["OpenStdin"]),
            warm=warm,
        )
        failpoint("docker.adopted")

    async def output(self, name: str) -> AsyncGenerator[Frame, None]:
        """See :meth:`runner.engine.Engine.output`."""
        run = self._prepared(name)
        said = written(name, run, self._ends, self._daemon)
        async with aclosing(said if run.warm is None else self._warm_runs.unwrapped(run, run.warm, said)) as frames:
            async for frame in frames:
                yield frame

    def may_lack_output(self, name: str) -> bool:
        """See :meth:`runner.engine.Engine.may_lack_output`."""
        return self._prepared(name).output.may_lack_beginning

    async def wait(self, name: str) -> Exit:
        """See :meth:`runner.engine.Engine.wait`."""
        if (run := self._runs.get(name)) is not None and run.warm is not None:
            end = await self._warm_runs.end_of(name, run, run.warm)
            self.warm.ended(run.warm.first_name)
            if end is not None:
                failpoint("docker.warm_ended")
                return Exit(end.code)
        container = await self._ends.of(name)
        state = container["State"]
        failpoint("docker.exited")

        def delayed(error: EngineUnavailable) -> None:
            log.warning("Docker went away as a program ended", action="engine_lost", container=name, error=str(error))

        engine_restarted = await surely(lambda: self._daemon.has_ended(container), delayed)
        return Exit(state["ExitCode"], bool(state["OOMKilled"]), engine_restarted=engine_restarted)

    async def stop(self, name: str, grace_seconds: float) -> None:
        """See :meth:`runner.engine.Engine.stop`."""
        await self._ends.stop(name, grace_seconds)

    async def destroy(self, name: str) -> None:
        """See :meth:`runner.engine.Engine.destroy`."""
        try:
            async with self._connection.call("removing a container", _HEAVY_CALL_SECONDS) as docker:
                await docker.containers.container(name).delete(force=True, v=True)
                failpoint("docker.removed")
        except DockerError as error:
            if error.status != _NOT_FOUND:
                raise EngineUnavailable(f"container {name} can't be removed now: {error.message}") from error
        self._events.forget(name)
        if (run := self._runs.pop(name, None)) is not None:
            await run.output.close()
            await self._is_gone(run)
        # Only now that nothing of it is there any more.
        self._bridges.give_back(name)
        await self._sandboxes.give_back(name)

    async def _is_gone(self, run: DockerRun) -> None:
        if run.warm is not None:
            await self.warm.used(run.warm.first_name)

    async def knows_all_starts(self, name: str) -> bool:
        """See :meth:`runner.engine.Engine.knows_all_starts`."""
        try:
            container = await self._ends.inspect(name)
            if labels.WARM in (container["Config"]["Labels"] or {}) and not await self._warm_has_begun(name):
                return True
            return await self._daemon.has_made(container)
        except ContainerGone:
            return True

    async def find(self, name: str) -> Found | None:
        """See :meth:`runner.engine.Engine.find`."""
        try:
            data = await self._ends.inspect(name)
        except ContainerGone:
            return None
        state = data["State"]
        said = data["Config"]["Labels"] or {}
        if labels.WARM in said:
            run = self._runs.get(name)
            last_start = run.warm.last_start if run is not None and run.warm is not None else state["StartedAt"]
            if not await self._warm_has_begun(name):
                return Found(name, ContainerState.CREATED, said, NEVER)
            return Found(name, state_of(state["Status"]), said, last_start)
        started = state_of(state["Status"]) is not ContainerState.CREATED
        return Found(name, state_of(state["Status"]), data["Config"]["Labels"] or {}, state["StartedAt"] if started else NEVER)

    async def list_ours(self) -> list[Found]:
        """See :meth:`runner.engine.Engine.list_ours`."""
        found = await self._sight.ours()
        return [await self._as_begun(each) if labels.WARM in each.labels else each for each in found]

    async def _as_begun(self, found: Found) -> Found:
        """A warm container runs before it has a job: it counts as started once its agent has begun one."""
        with suppress(ContainerGone):
            if not await self._warm_has_begun(found.name):
                return replace(found, state=ContainerState.CREATED)
        return found

    async def _warm_has_begun(self, name: str) -> bool:
        if (run := self._runs.get(name)) is not None and run.warm is not None:
            return run.warm.has_begun
        return (await self._warm_runs.settled(name)).has_begun

    async def belongings(self) -> list[Belonging]:
        """See :meth:`runner.engine.Engine.belongings`. Those of Compose projects are among them."""
        found = await self._belongings.all()
        # Looked at only now: what is being made was said to be before it was made.
        ours = self._environments.in_use | self._sandboxes.in_use | self._bridges.in_use | self.warm.in_use
        return [replace(each, is_in_use=each.is_in_use or each.name in ours) for each in found]

    async def remove(self, belonging: Belonging) -> None:
        """See :meth:`runner.engine.Engine.remove`."""
        await self._belongings.remove(belonging)

    async def list_running(self) -> list[RunningContainer]:
        """See :meth:`runner.engine.Engine.list_running`."""
        return await self._sight.running()

    async def tail(self, container_id: str, lines: int, most_bytes: int) -> Tail:
        """See :meth:`runner.engine.Engine.tail`."""
        return await self._sight.tail(container_id, lines, most_bytes)

    def keep_warm(self, wanted: Sequence[Warm]) -> None:
        """See :meth:`runner.engine.Engine.keep_warm`."""
        self.warm.keep(wanted)

    async def close(self) -> None:
        """See :meth:`runner.engine.Engine.close`."""
        await self.warm.close()
        await asyncio.gather(self._sandboxes.close(), self._bridges.close())
        await self._events.close()
        for run in self._runs.values():
            await run.output.close()
        self._runs.clear()
        await self._connection.close()

    def _prepared(self, name: str) -> DockerRun:
        try:
            return self._runs[name]
        except KeyError:
            raise OutOfOrder(f"container {name} was not prepared here") from None
