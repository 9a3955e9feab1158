"""An engine without containers, for tests and for trying things out. It keeps the contract and complains when others do not.

What a "program" does is told by its environment, which is to say by the parameters of the command:

========================  ====================================================================================
``PARAM_STDOUT``          text that it writes to stdout at once
``PARAM_STDERR``          text that it writes to stderr at once
``PARAM_REPEAT``          how many times it writes both (default 1)
``PARAM_SLEEP``           seconds that it runs on after that (default 0)
``PARAM_EXIT_CODE``       its exit code (default 0)
``PARAM_IGNORE_SIGTERM``  ``true``: only SIGKILL ends it
``PARAM_OOM``             ``main``: killed for want of memory; ``child``: only a child of it is
``PARAM_PREPARE_SECONDS`` seconds that making its container takes, as if an image were fetched (default 0)
``PARAM_PREPARE_STEPS``   how many steps it tells of that, each with a line (default 0)
``PARAM_PREPARE_ERROR``   a reason (schemas.reasons): making its container fails with it
``PARAM_START_ERROR``     a reason: starting it fails with it
``PARAM_NO_PYTHON``       ``true``: its image can't run actions
========================  ====================================================================================

The actions around it do as ``PARAM_BEFORE_STDOUT``, ``PARAM_AFTER_EXIT_CODE`` and so on say.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.belongings import Belonging, Kind
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
from runner.errors import AlreadyStarted, CannotRun, ContainerGone, EngineForbidden, EngineUnavailable, OutOfOrder
from runner.lines import PIP
from runner.preparation import NOBODY, Listener, Stage
from runner.steps import Step
from runner.tail_buffer import TailBuffer
from runner.warm_pool import Warm
from schemas.output import StreamName
from schemas.progress_events import Phase
from schemas.reasons import Reason

_TERMINATED, _KILLED = 143, 137
#: Frames that may wait for their reader; then the program is blocked, as a real one is.
_MOST_FRAMES = 16
_PREFIXES = {Step.BEFORE: "PARAM_BEFORE_", Step.PROGRAM: "PARAM_", Step.AFTER: "PARAM_AFTER_"}


@dataclass
class _Container:
    spec: Spec
    state: ContainerState = ContainerState.CREATED
    #: The steps that were started.
    steps: list[Step] = field(default_factory=list)
    exit: Exit | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    terminate: asyncio.Event = field(default_factory=asyncio.Event)
    asked_to_stop: bool = False
    #: The exit code, where a restart of the engine ends it.
    ended_by_restart: int | None = None
    #: All that was written so far, over all steps, and how much of it was read.
    record: list[Frame] = field(default_factory=list)
    read: int = 0
    written_or_ended: asyncio.Event = field(default_factory=asyncio.Event)
    has_room: asyncio.Event = field(default_factory=asyncio.Event)
    output_taken: bool = False
    program: asyncio.Task[None] | None = None

    def setting(self, name: str, default: str = "", *, step: Step | None = None) -> str:
        """What the environment says of a step: by default the one that was started last."""
        step = step or (self.steps[-1] if self.steps else Step.PROGRAM)
        return self.spec.env.get(f"{_PREFIXES[step]}{name}", default)

    @property
    def found(self) -> Found:
        return Found(self.spec.name, self.state, self.spec.labels, str(len(self.steps)) if self.steps else NEVER)

    def adopt(self) -> None:
        """Hand all of the record out once more, to a new reader."""
        self.output_taken = False
        self.read = 0

    async def write(self, frame: Frame) -> None:
        while len(self.record) - self.read >= _MOST_FRAMES:
            self.has_room.clear()
            await self.has_room.wait()
        self.record.append(frame)
        self.written_or_ended.set()

    def end(self) -> None:
        self.state = ContainerState.ENDED
        self.ended.set()
        self.written_or_ended.set()

    def begin(self, step: Step) -> None:
        self.steps.append(step)
        self.state = ContainerState.RUNNING
        self.exit = None
        self.ended = asyncio.Event()
        self.terminate = asyncio.Event()
        self.output_taken = False


class FakeEngine:
    """See the module's text; and :mod:`runner.engine` for the contract."""

    def __init__(self) -> None:
        #: While true nothing answers; programs run on.
        self.away = False
        #: Whether it is away for want of a permission.
        self.forbidden = False
        #: Where it says that it keeps its data.
        self.root: Path | None = None
        #: Containers of whose output it may have dropped the beginning.
        self.forgetful: set[str] = set()
        #: Containers that may have been started by an engine that was restarted since, and does not know of it.
        self.unsure: set[str] = set()
        #: How often each container was started.
        self.starts: Counter[str] = Counter()
        #: What each container's ``act_after`` was told.
        self.exit_codes: dict[str, int] = {}
        #: The most programs that ever ran at the same time.
        self.most_running = 0
        #: What is to be kept warm, by the last word.
        self.warm: Sequence[Warm] = ()
        #: Whether something that was kept warm waits for every attempt.
        self.has_warm = False
        self._containers: dict[str, _Container] = {}

    @property
    def running(self) -> int:
        """Programs that run now."""
        return sum(container.state is ContainerState.RUNNING for container in self._containers.values())

    @property
    def containers(self) -> frozenset[str]:
        """The names of the containers that are there."""
        return frozenset(self._containers)

    def steps_of(self, name: str) -> list[Step]:
        """The steps that a container was started for."""
        container = self._containers.get(name)
        return [] if container is None else list(container.steps)

    def is_terminating(self, name: str) -> bool:
        """Whether a container got SIGTERM, or should have."""
        container = self._containers.get(name)
        return container is not None and container.asked_to_stop

    def add_foreign(self, spec: Spec, state: ContainerState) -> None:
        """Put a container there that an earlier process made, and started where the state says so."""
        container = self._containers[spec.name] = _Container(spec)
        if state is not ContainerState.CREATED:
            self._go(container, Step.PROGRAM)

    async def ping(self) -> str:
        """See the contract."""
        self._answer()
        return "fake 1.0"

    async def data_root(self) -> Path | None:
        """See the contract."""
        self._answer()
        return self.root

    async def take_warm(self, spec: Spec) -> Prepared | None:
        """See the contract."""
        self._answer()
        return replace(await self.prepare(spec), was_warm=True) if self.has_warm else None

    async def prepare(self, spec: Spec, listener: Listener = NOBODY) -> Prepared:
        """See the contract."""
        self._answer()
        container = _Container(spec)
        for number in range(int(container.setting("PREPARE_STEPS", "0"))):
            await listener.progress(Stage(Phase.PULL, f"Step {number}", percent=number))
            listener.say(PIP, f"line {number}\n")
        await asyncio.sleep(float(container.setting("PREPARE_SECONDS", "0")))
        self._answer()
        if reason := container.setting("PREPARE_ERROR"):
            raise CannotRun(Reason(reason), f"The container could not be made: {reason}")
        earlier = self._containers.get(spec.name)
        if earlier is not None and earlier.state is not ContainerState.CREATED:
            raise AlreadyStarted(f"container {spec.name} was started before")
        self._containers[spec.name] = container
        actions = frozenset[Step]() if container.setting("NO_PYTHON") == "true" else spec.actions
        return Prepared(f"id-of-{spec.name}", actions)

    async def start(self, name: str, step: Step = Step.PROGRAM, *, exit_code: int = 0) -> None:
        """See the contract."""
        self._answer()
        container = self._containers.get(name)
        if container is None:
            raise OutOfOrder(f"start of {name} before prepare")
        if step in container.steps or container.state is ContainerState.RUNNING:
            raise OutOfOrder(f"{name} is started a second time")
        if container.state is ContainerState.ENDED and not container.output_taken:
            raise OutOfOrder(f"{name} goes on before its output was read")
        if reason := container.setting("START_ERROR", step=step):
            raise CannotRun(Reason(reason), f"The container could not be started: {reason}")
        if step is Step.PROGRAM:
            self.starts[name] += 1
        if step is Step.AFTER:
            self.exit_codes[name] = exit_code
        self._go(container, step)

    def _go(self, container: _Container, step: Step) -> None:
        container.begin(step)
        container.program = asyncio.create_task(self._run(container), name=f"program {container.spec.name}")
        self.most_running = max(self.most_running, self.running)

    async def _run(self, container: _Container) -> None:
        exit_ = Exit(int(container.setting("EXIT_CODE", "0")), oom_killed=container.setting("OOM") == "child")
        if container.setting("OOM") == "main":
            exit_ = Exit(_KILLED, oom_killed=True)
        try:
            living = asyncio.create_task(self._live(container))
            terminated = asyncio.create_task(container.terminate.wait())
            try:
                await asyncio.wait({living, terminated}, return_when=asyncio.FIRST_COMPLETED)
                if not living.done():
                    exit_ = Exit(_TERMINATED)
                    if container.ended_by_restart is not None:
                        exit_ = Exit(container.ended_by_restart, engine_restarted=True)
            finally:
                living.cancel()
                terminated.cancel()
                await asyncio.gather(living, terminated, return_exceptions=True)
        except asyncio.CancelledError:
            exit_ = Exit(_KILLED)  # SIGKILL: nothing more to do but to be dead
        container.exit = exit_
        container.end()

    def restart(self, exit_code: int = _TERMINATED) -> None:
        """End all programs, as a restart without live-restore does; one that minds the signal chooses its exit code itself."""
        for container in self._containers.values():
            if container.state is ContainerState.RUNNING:
                container.ended_by_restart = exit_code
                container.terminate.set()

    async def _live(self, container: _Container) -> None:
        for _ in range(int(container.setting("REPEAT", "1"))):
            for stream in StreamName:
                if text := container.setting(stream.name):
                    await container.write(Frame(stream, text.encode()))
        await asyncio.sleep(float(container.setting("SLEEP", "0")))

    async def adopt(self, name: str, plan: str | None = None, order: Order = NO_ORDER) -> None:  # noqa: ARG002
        """See the contract."""
        self._answer()
        container = self._containers.get(name)
        if container is None:
            raise ContainerGone(f"container {name} is gone")
        container.adopt()

    async def output(self, name: str) -> AsyncGenerator[Frame, None]:
        """See the contract."""
        container = self._started(name, "output")
        if container.output_taken:
            raise OutOfOrder(f"output of {name} is read a second time")
        container.output_taken = True
        while True:
            if container.read < len(container.record):
                container.read += 1
                container.has_room.set()
                yield container.record[container.read - 1]
            elif container.ended.is_set():
                return
            else:
                container.written_or_ended.clear()
                await container.written_or_ended.wait()

    def may_lack_output(self, name: str) -> bool:
        """See the contract."""
        return name in self.forgetful

    async def wait(self, name: str) -> Exit:
        """See the contract."""
        container = self._started(name, "wait")
        await container.ended.wait()
        if container.exit is None or self._containers.get(name) is not container:
            raise ContainerGone(f"container {name} is gone")
        return container.exit

    async def stop(self, name: str, grace_seconds: float) -> None:
        """See the contract."""
        self._answer()
        container = self._containers.get(name)
        if container is None or container.state is not ContainerState.RUNNING:
            return
        container.asked_to_stop = True
        if container.setting("IGNORE_SIGTERM") != "true":
            container.terminate.set()
        if container.program is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(container.ended.wait(), grace_seconds)
        await self._kill(container)

    async def destroy(self, name: str) -> None:
        """See the contract."""
        self._answer()
        container = self._containers.pop(name, None)
        if container is not None:
            await self._kill(container)

    async def _kill(self, container: _Container) -> None:
        if container.program is not None and not container.ended.is_set():
            container.program.cancel()
        if container.program is not None:
            await asyncio.gather(container.program, return_exceptions=True)
        if container.state is ContainerState.RUNNING:
            container.end()
        container.ended.set()
        container.written_or_ended.set()

    async def find(self, name: str) -> Found | None:
        """See the contract."""
        self._answer()
        container = self._containers.get(name)
        return None if container is None else container.found

    async def knows_all_starts(self, name: str) -> bool:
        """See the contract."""
        self._answer()
        return name not in self.unsure

    async def list_ours(self) -> list[Found]:
        """See the contract."""
        self._answer()
        return [container.found for container in self._containers.values()]

    async def belongings(self) -> list[Belonging]:
        """See the contract."""
        self._answer()
        return [
            Belonging(Kind.CONTAINER, name, name, owner=name, labels=container.spec.labels)
            for name, container in self._containers.items()
        ]

    async def remove(self, belonging: Belonging) -> None:
        """See the contract."""
        await self.destroy(belonging.name)

    async def list_running(self) -> list[RunningContainer]:
        """See the contract."""
        self._answer()
        return [
            RunningContainer(f"id-of-{name}", name, container.spec.image, "Up 1 second", container.spec.labels)
            for name, container in reversed(self._containers.items())
            if container.state is ContainerState.RUNNING
        ]

    async def tail(self, container_id: str, lines: int, most_bytes: int) -> Tail:
        """See the contract. Each write counts as one line."""
        self._answer()
        container = self._containers.get(container_id.removeprefix("id-of-"))
        if container is None:
            raise ContainerGone(f"container {container_id} is gone")
        end = TailBuffer(most_bytes)
        for frame in container.record[-lines:]:
            end.feed(frame)
        return end.tail()

    def keep_warm(self, wanted: Sequence[Warm]) -> None:
        """See the contract. It keeps in mind what was asked for, and keeps nothing warm."""
        self.warm = wanted

    async def close(self) -> None:
        """See the contract; and the programs end, as there is nothing else that could run them."""
        for container in self._containers.values():
            await self._kill(container)

    def _answer(self) -> None:
        if self.away:
            raise (EngineForbidden if self.forbidden else EngineUnavailable)("the fake engine is away")

    def _started(self, name: str, call: str) -> _Container:
        container = self._containers.get(name)
        if container is None or container.state is ContainerState.CREATED:
            raise OutOfOrder(f"{call} of {name} before start")
        return container
