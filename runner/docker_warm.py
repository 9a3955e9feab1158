"""The warm pool: single-use containers on Docker that run already and wait for a job."""

import asyncio
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import structlog
from aiodocker.exceptions import DockerError

from runner.belongings import WAITING
from runner.container_config import ImageCommand, join
from runner.docker_connection import DockerConnection
from runner.docker_creation import create
from runner.docker_environments import DockerEnvironments
from runner.docker_images import DockerImages
from runner.docker_output import DockerOutput
from runner.docker_probe import look_for_commands
from runner.docker_sandboxes import DockerSandboxes
from runner.errors import CannotRun, EngineUnavailable
from runner.run_spec import RunSpec
from runner.start_gate import Priority, StartGate
from runner.waiting import cancel, finished
from runner.warm_agent import MOST_READY_BYTES, Ready, parse_ready
from runner.warm_job import is_shell_variable
from runner.warm_plan import body_of, is_preloaded, key_of
from runner.warm_pool import SHIM_BYTES, UNKNOWN_BYTES, Kept, PoolLimits, Warm, changes
from schemas.failpoints import failpoint
from schemas.output import StreamName

log = structlog.get_logger()

#: Seconds between two looks at images and at what is there.
_LOOK_SECONDS = 5.0
#: Seconds that an agent may take to be ready: modules are imported before that.
_READY_SECONDS = 120.0
#: Seconds after a container was taken in which no other is made while its job has not ended: that wants the same cores, and
#: somebody waits for it. Seconds after its end: the news of that wants them too. And the most seconds that one which is missing
#: waits for such a pause.
_BUSY_SECONDS, _CALM_SECONDS, _LONGEST_WAIT_FOR_CALM_SECONDS = 0.3, 0.03, 0.6
#: Seconds after a container was taken for which more are likely to be: only then is a network sandbox worth what it takes to
#: make one.
_TAKEN_AGAIN_SECONDS = 10.0
_HEAVY_CALL_SECONDS = 120.0
#: Seconds in which the pool must be gone at the end. What is left ends by itself, since nobody is attached any more.
_CLOSE_SECONDS = 4.0
#: Seconds after which something that could not be made is tried again; twice as many each time.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 5.0, 600.0
#: Kinds of containers that are remembered as not to be kept warm.
_MOST_UNFIT = 1_000

_NOT_FOUND, _CONFLICT = 404, 409


class Unfit(Exception):
    """No container of this kind can be kept warm, however often one is made."""


@dataclass
class WarmContainer:
    """One that waits."""

    key: str
    name: str
    container_id: str
    output: DockerOutput
    ready: Ready
    #: Whether it has a Python, which actions need.
    has_python: bool


@dataclass
class _Pause:
    until: float = 0.0
    seconds: float = _FIRST_PAUSE_SECONDS


@dataclass(frozen=True)
class _Kind:
    body: dict[str, Any]
    image: ImageCommand
    spec: RunSpec


class DockerWarm:
    """The pool of one runner on one engine. It works while something is wanted of it."""

    def __init__(
        self,
        connection: DockerConnection,
        images: DockerImages,
        environments: DockerEnvironments,
        gate: StartGate,
        limits: PoolLimits,
        sandboxes: DockerSandboxes,
    ) -> None:
        self._connection = connection
        self._images = images
        self._environments = environments
        self._gate = gate
        self._limits = limits
        self._sandboxes = sandboxes
        #: First names of the containers that are this process's own business, from before they are made until they are gone.
        self.in_use: set[str] = set()
        self._wanted: Sequence[Warm] = ()
        self._ready: defaultdict[str, list[WarmContainer]] = defaultdict(list)
        self._making: Counter[str] = Counter()
        self._kinds: dict[str, _Kind] = {}
        self._bytes: dict[str, int] = {}
        self._unfit: dict[str, None] = {}
        self._pauses: defaultdict[str, _Pause] = defaultdict(_Pause)
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._is_closed = False
        #: First names of those whose job was begun, or has ended, a moment ago → monotonic time until which they count.
        self._busy: dict[str, float] = {}
        #: Set whenever such a job ends.
        self._calmer = asyncio.Event()
        #: Monotonic time of when a container was taken last.
        self._taken_at = float("-inf")
        #: How many containers were taken so far.
        self.taken = 0
        #: How many are still to be made of what is wanted and can be; ``None`` before that is known.
        self.lacking: int | None = None

    @property
    def waiting(self) -> int:
        """How many containers wait for a job."""
        return sum(map(len, self._ready.values()))

    def all_waiting(self) -> list[WarmContainer]:
        """Those that wait for a job."""
        return [each for kind in self._ready.values() for each in kind]

    def keep(self, wanted: Sequence[Warm]) -> None:
        """From now on, keep these. Returns at once."""
        if self._is_closed or self._limits.containers == 0:
            return
        self._wanted = wanted
        self._changed.set()
        if self._keeper is None and wanted:
            self._keeper = asyncio.create_task(self._keep(), name="keep containers warm")

    def expected_image(self, spec: RunSpec) -> ImageCommand | None:
        """The image to run this attempt in, as it was when that was looked at last; ``None`` where nothing waits for it."""
        for key, kind in self._kinds.items():
            if self._ready.get(key) and (kind.spec.image, kind.spec.requirements) == (spec.image, spec.requirements):
                return kind.image
        return None

    async def image_of(self, spec: RunSpec) -> ImageCommand | None:
        """The image to run this attempt in as it is now; ``None`` where it is not here, or its requirements are not installed.

        Raises:
            EngineUnavailable: Docker is away.
        """
        try:
            image = await self._images.find(spec.image)
            return None if image is None else await self._environments.find(spec, image)
        except CannotRun:
            return None

    async def take(self, spec: RunSpec, image: ImageCommand) -> WarmContainer | None:
        """A container for this very attempt, which has its name from now on; ``None`` where none waits for one like it.

        Raises:
            EngineUnavailable: Docker is away.
        """
        ready = self._ready.get(key_of(spec, body_of(spec, image), image))
        while ready:
            taken = ready.pop(0)
            if taken.output.has_ended:
                self._remove_soon(taken)
                continue
            self._taken_at = time.monotonic()
            self._busy[taken.name] = self._taken_at + _BUSY_SECONDS
            self._changed.set()
            try:
                async with self._connection.call("naming a container") as docker:
                    await finished(_rename(docker, taken.container_id, spec.name))
                failpoint("docker.renamed")
                taken.output.rename(spec.name)
            except DockerError as error:
                if error.status == _CONFLICT:
                    # Somebody has that name, who may be this attempt itself in an earlier life.
                    ready.append(taken)
                    return None
                log.info("warm container is gone", action="warm_gone", container=taken.name, error=error.message)
                self._remove_soon(taken)
            except BaseException:
                # It may have the new name: whoever asked for it removes what has that name.
                await taken.output.close()
                self._remove_soon(taken)
                raise
            else:
                self.taken += 1
                return taken
        return None

    def ended(self, first_name: str) -> None:
        """The job of a container that was taken has ended. Safe to repeat."""
        if (busy_until := self._busy.get(first_name)) is not None:
            self._busy[first_name] = min(busy_until, time.monotonic() + _CALM_SECONDS)
            self._calmer.set()

    async def used(self, first_name: str) -> None:
        """A container that was taken is gone. Safe to repeat."""
        self.ended(first_name)
        self.in_use.discard(first_name)
        await self._sandboxes.give_back(first_name)

    async def close(self) -> None:
        """Remove all that wait, until something is wanted again. Safe to repeat."""
        self._is_closed, self._wanted, self.lacking = True, (), None
        left: list[WarmContainer] = []
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._keeper is not None:
                    await cancel(self._keeper)
                await cancel(*self._tasks)
                left = self.all_waiting()
                self._ready.clear()
                await asyncio.gather(*(self._remove(each.name, each.output) for each in left))
        except TimeoutError:
            log.warning("warm containers are left to end by themselves", action="warm_left", containers=len(left))
        for each in left:
            await each.output.close()
        self._keeper, self._is_closed = None, False

    # Keeping

    async def _keep(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._reconcile()
            except EngineUnavailable as error:
                log.info("warm containers are looked after later", action="warm_delayed", error=str(error))
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                await self._forget_what_ended()
            else:
                await self._until_calm()

    async def _until_calm(self) -> None:
        give_up_at = time.monotonic() + _LONGEST_WAIT_FOR_CALM_SECONDS
        while True:
            self._calmer.clear()
            now = time.monotonic()
            self._busy = {name: until for name, until in self._busy.items() if until > now}
            if not self._busy or now >= give_up_at:
                return
            until = min(*self._busy.values(), give_up_at)
            with suppress(TimeoutError):
                async with asyncio.timeout(until - now):
                    await self._calmer.wait()

    async def _reconcile(self) -> None:
        wanted: list[tuple[str, int]] = []
        kinds: dict[str, _Kind] = {}
        for warm in self._wanted:
            if len(wanted) >= self._limits.containers:
                break  # there is no room for more kinds
            kind = await self._kind(warm.spec)
            if kind is None:
                continue
            key = key_of(kind.spec, kind.body, kind.image)
            if key not in self._unfit:
                kinds[key] = kind
                wanted.append((key, warm.count))
        self._kinds = kinds
        keys = {*self._ready, *self._making, *kinds}
        for known in (self._bytes, self._pauses):
            for key in known.keys() - keys:
                del known[key]
        kept = {
            key: Kept(len(self._ready.get(key, ())), self._making[key], self._bytes.get(key, UNKNOWN_BYTES)) for key in keys
        }
        todo = changes(wanted, kept, self._limits)
        for key, count in todo.drop.items():
            for _ in range(count):
                self._remove_soon(self._ready[key].pop())
            if not self._ready[key]:
                del self._ready[key]
        self.lacking = len(todo.make) + sum(self._making.values())
        for key in todo.make:
            # Those that wait for their turn could as well be made for what is wanted by then.
            if sum(self._making.values()) >= self._gate.refills:
                break
            if time.monotonic() >= self._pauses[key].until:
                self._making[key] += 1
                self._spawn(self._make(key, kinds[key]), f"warm a container for {kinds[key].spec.program_id}")

    async def _kind(self, spec: RunSpec) -> _Kind | None:
        """What is made for this program now; ``None`` where nothing can be."""
        image = await self.image_of(spec)
        return None if image is None else _Kind(body_of(spec, image), image, spec)

    def _spawn(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make(self, key: str, kind: _Kind) -> None:
        name = f"{WAITING}{secrets.token_hex(8)}"
        output = DockerOutput(self._connection, name)
        self.in_use.add(name)
        made: WarmContainer | None = None
        try:
            async with asyncio.timeout(_READY_SECONDS + 2 * _HEAVY_CALL_SECONDS):
                made = await self._warmed(key, kind, name, output)
            self._bytes[key] = made.ready.memory_bytes + SHIM_BYTES
            self._pauses.pop(key, None)
        except Unfit as error:
            log.info("programs of this kind start cold", action="warm_unfit", program_id=kind.spec.program_id, why=str(error))
            self._unfit[key] = None
            if len(self._unfit) > _MOST_UNFIT:
                del self._unfit[next(iter(self._unfit))]
        except (DockerError, EngineUnavailable, TimeoutError) as error:
            pause = self._pauses[key]
            pause.until = time.monotonic() + pause.seconds
            log.warning(
                "no warm container",
                action="warm_failed",
                program_id=kind.spec.program_id,
                again_in_seconds=pause.seconds,
                error=str(error) or "timeout",
            )
            pause.seconds = min(_LONGEST_PAUSE_SECONDS, pause.seconds * 2)
        finally:
            self._making[key] -= 1
            if not self._making[key]:
                del self._making[key]
            self._changed.set()
            if made is None or self._is_closed:
                await self._remove(name, output)
            else:
                self._ready[key].append(made)

    async def _warmed(self, key: str, kind: _Kind, name: str, output: DockerOutput) -> WarmContainer:
        is_busy = time.monotonic() - self._taken_at < _TAKEN_AGAIN_SECONDS
        joint = await self._sandboxes.take(name, kind.spec, is_busy=is_busy)
        async with (
            self._gate.start(Priority.REFILL),
            self._connection.call("making a warm container", _HEAVY_CALL_SECONDS) as docker,
        ):
            created = await create(docker, join(kind.body, joint), name)
            failpoint("docker.warm_created")
        await output.attach(with_stdin=True)
        async with (
            self._gate.start(Priority.REFILL),
            self._connection.call("starting a warm container", _HEAVY_CALL_SECONDS) as docker,
        ):
            await docker.containers.container(created.id).start()
            failpoint("docker.warm_started")
        async with asyncio.timeout(_READY_SECONDS):
            ready = await _until_ready(output)
        if ready is None:
            raise Unfit("its image can't run the agent")
        if not ready.fits:
            raise Unfit("the shell of its image can't start a program with the signals as they are")
        async with self._connection.call("looking at a warm container") as docker:
            shown = await docker.containers.container(created.id).show()
        if kind.image.create_from is None and shown["Image"] != kind.image.image_id:
            raise EngineUnavailable("the image has changed meanwhile")
        names = [variable.partition("=")[0] for variable in shown["Config"]["Env"] or ()]
        if not is_preloaded(kind.spec) and (strange := [each for each in names if not _is_handed_on(each)]):
            raise Unfit(f"its shell would not hand on the variable {strange[0]}")
        has_python = kind.spec.host_actions is not None and (await look_for_commands(self._connection, name)).python
        for module, why in ready.failed.items():
            log.warning(
                "module could not be preloaded",
                action="preload_failed",
                program_id=kind.spec.program_id,
                module=module,
                why=why,
            )
        log.debug("container is warm", action="warm_ready", program_id=kind.spec.program_id, container=name)
        return WarmContainer(key, name, created.id, output, ready, has_python)

    async def _forget_what_ended(self) -> None:
        """Drop those that somebody has removed or stopped."""
        for key, waiting in list(self._ready.items()):
            for each in list(waiting):
                if each.output.has_ended and each in waiting:
                    waiting.remove(each)
                    self._remove_soon(each)
            if not waiting:
                self._ready.pop(key, None)

    def _remove_soon(self, container: WarmContainer) -> None:
        self._spawn(self._remove(container.name, container.output, container.container_id), f"remove {container.name}")

    async def _remove(self, name: str, output: DockerOutput, container_id: str | None = None) -> None:
        """Remove it; what can't be removed now is left to the sweeper."""
        await output.close()
        try:
            async with self._connection.call("removing a container", _HEAVY_CALL_SECONDS) as docker:
                await docker.containers.container(container_id or name).delete(force=True, v=True)
        except (DockerError, EngineUnavailable) as error:
            if not (isinstance(error, DockerError) and error.status in (_NOT_FOUND, _CONFLICT)):
                log.warning("container not removed", action="container_not_removed", container=name, error=str(error))
        finally:
            await self.used(name)


async def _until_ready(output: DockerOutput) -> Ready | None:
    """What the agent says; ``None`` where it ended, or said something else."""
    line = bytearray()
    async with aclosing(output.live()) as frames:
        async for frame in frames:
            if frame.stream is not StreamName.STDOUT:
                continue
            line += frame.content
            if b"\n" in line or len(line) > MOST_READY_BYTES:
                return parse_ready(bytes(line).partition(b"\n")[0])
    return None


async def _rename(docker: Any, container_id: str, name: str) -> None:
    await docker.containers.container(container_id).rename(name)


def _is_handed_on(name: str) -> bool:
    return name in ("PATH", "HOSTNAME") or (is_shell_variable(name) and not name.startswith("hub_"))
