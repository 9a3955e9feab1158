"""The seam to what runs containers: the contract that every engine keeps and every caller may rely on.

One container per attempt, named by :attr:`runner.run_spec.RunSpec.name`. The calls for one name, in this order::

    prepare ── start ─┬─ output (read to its end) ─┬─ start of the next step, or destroy
                      ├─ wait ─────────────────────┤
                      └─ stop (perhaps) ───────────┘

``adopt`` takes the place of ``prepare`` and the starts that an earlier process has made; ``output`` then begins with what the
first step wrote.

A container goes through its steps one after the other, each at most once: ``act_before`` and ``act_after`` where
:class:`Prepared` says that it can run them, and the program between them. It is the same container all the time: what a step
leaves in its file system is there for the next.

- ``output``, ``wait`` and ``stop`` of one name run concurrently; every other pair of calls for one name comes one after the
  other. Calls for different names may always run concurrently, in any number.
- ``stop``, ``destroy``, ``find``, ``list_ours``, ``belongings``, ``remove``, ``list_running`` and ``tail`` need nothing of the
  calls before them: they work on what an earlier process left. The last two only look, at any time.
- ``destroy`` may come at any point, after any failure, and again.
- Every call may be cancelled. After a cancelled ``prepare`` or ``start`` the container may be there or not: ``find`` tells,
  ``destroy`` clears it away.
- A program that ends badly is a result (:class:`Exit`). Errors mean that the runner could not do its part: ``CannotRun`` is the
  fault of the program's configuration and final, ``EngineUnavailable`` of the engine, with an unknown outcome.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from runner.belongings import Belonging
from runner.compose_spec import ComposeSpec
from runner.preparation import NOBODY, Listener
from runner.run_spec import RunSpec
from runner.steps import Step
from runner.warm_pool import Warm
from schemas.output import StreamName

#: What can be run: a container, or a Compose file.
Spec = RunSpec | ComposeSpec


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes that a program wrote to one of its streams, in the order written; where one frame ends means nothing."""

    stream: StreamName
    content: bytes
    #: Which of several writers it comes from, by a number of the engine's own; ``None`` where there is but one.
    source: int | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A stretch of one stream, all of it from one writer."""

    source: int
    size_bytes: int


#: In which order the writers of a program wrote what was published of each stream; nothing where there is but one writer.
Order = Mapping[StreamName, Sequence[Share]]
NO_ORDER: Order = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Exit:
    """How a program ended."""

    #: 128 + n where signal n ended it.
    code: int
    #: Whether the kernel killed one of its processes for want of memory, not necessarily the main one.
    oom_killed: bool = False
    #: The service of a Compose program whose end is that of the program.
    service: str | None = None
    #: What that service may have of memory.
    memory_bytes: int | None = None
    #: Why the rest of a Compose program could not be started; ``None`` where all was.
    failure: str | None = None
    #: Whether a restart of the engine ended it, or lost how it ended, as far as that can be told: then nothing here says how
    #: the program fared.
    engine_restarted: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A container that was made and not started."""

    #: The engine's own id of it.
    container_id: str
    #: Which of the wanted actions it can run; none where its image has no Python.
    actions: frozenset[Step] = frozenset()
    #: What people should know of how it was prepared.
    notes: tuple[str, ...] = ()
    #: Whether another process could take it up once it was started …
    adoptable: bool = True
    #: … and what it must know for that beyond the name, in words of the engine's own.
    plan: str | None = None
    #: Whether the container had been made, and waited, before the attempt was known.
    was_warm: bool = False


#: The ``last_start`` of a container that was never started.
NEVER = ""


class ContainerState(StrEnum):
    """What the engine knows of a container, as far as it matters here."""

    #: Never started.
    CREATED = "created"
    RUNNING = "running"
    #: Was started and runs no more.
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Found:
    """A container that exists."""

    name: str
    state: ContainerState
    labels: Mapping[str, str]
    #: Which start of the container was the last, in words of the engine's own; :data:`NEVER` before the first.
    last_start: str = ""


@dataclass(frozen=True, slots=True)
class RunningContainer:
    """A container that runs, as the engine shows it to people."""

    container_id: str
    name: str
    #: The one it was made from, as the engine names it.
    image: str
    #: Such as ``Up 2 minutes``.
    status: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of what a container has written."""

    stdout: bytes
    stderr: bytes
    #: Whether some of the lines asked for are not in there, because they were too long.
    truncated: bool


class Engine(Protocol):
    """What runs containers. See the module's text for the order of calls."""

    async def ping(self) -> str:
        """The engine's name and version, for people, if it answers.

        Raises:
            EngineUnavailable: it does not, within a few seconds.
        """

    async def data_root(self) -> Path | None:
        """Where the engine keeps containers and images, as a path of its own host; ``None`` where it does not say.

        Raises:
            EngineUnavailable: the engine is away.
        """

    async def take_warm(self, spec: Spec) -> Prepared | None:
        """A container that was kept warm for an attempt like this one, and is its own from now on; ``None`` where none waits
        for it. May come before ``prepare``, which then need not be called.

        Raises:
            EngineUnavailable: nothing was started; a container of this name may be there.
        """

    async def prepare(self, spec: Spec, listener: Listener = NOBODY) -> Prepared:
        """See to it that the image is there with all that the program requires in it (which may take minutes) and make the
        container, without starting it.

        A container of this very attempt that was made before and never started is replaced, so repeating this is safe.
        Concurrent calls that need the same image fetch it once. The listener hears how far that has come, and what pip said.

        Raises:
            CannotRun: no such image, no valid name of an image, requirements that can't be installed, or a configuration that
                the engine refuses.
            AlreadyStarted: a container of this attempt was started before.
            EngineUnavailable: nothing was started; the container may have been made.
        """

    async def start(self, name: str, step: Step = Step.PROGRAM, *, exit_code: int = 0) -> None:
        """Start a step in the prepared container, once and never again. What it writes is being collected from before its
        first byte. ``exit_code`` is what ``act_after`` is told of the program.

        Raises:
            CannotRun: it was not and will not be started.
            EngineUnavailable: it may have been started.
        """

    async def adopt(self, name: str, plan: str | None = None, order: Order = NO_ORDER) -> None:
        """Take up a container that an earlier process started, whether it still runs or has ended.

        ``plan`` is what ``prepare`` said then. ``output`` begins with what was published of each stream, in this ``order``.

        Raises:
            ContainerGone: there is none.
            NeverStarted: nothing had begun in it after all, and it is removed: it may be prepared again.
            NotAdoptable: it is of a kind that only the process that started it can see to its end.
            EngineUnavailable: not known.
        """

    def output(self, name: str) -> AsyncGenerator[Frame, None]:
        """What the program writes, every byte, once, from the first to the last. To be read by one reader.

        Reading slowly slows the program down; that is the bound on memory. A lost connection is survived inside. It
        ends when the program has ended and everything was handed out; whoever breaks off early closes it.

        After ``adopt`` it is everything since the first start. The engine's record has a limit: of a flood the oldest is gone,
        and :meth:`may_lack_output` says so.
        """

    def may_lack_output(self, name: str) -> bool:
        """Whether some of the output was perhaps never handed out, since the engine keeps only so much. Never waits.

        To be asked once ``output`` has come to its end.
        """

    async def wait(self, name: str) -> Exit:
        """Wait until the started program has ended, however long that takes. Losing the engine meanwhile is survived inside.

        Raises:
            ContainerGone: somebody removed the container.
        """

    async def stop(self, name: str, grace_seconds: float) -> None:
        """End the program: SIGTERM, and SIGKILL after the grace. When this returns it does not run.

        No container, or one that does not run, is no error.

        Raises:
            EngineUnavailable: it may still run: call again.
        """

    async def destroy(self, name: str) -> None:
        """Remove the container with all that belongs to it, running or not. None there is no error.

        Raises:
            EngineUnavailable: it may still be there: call again.
        """

    async def find(self, name: str) -> Found | None:
        """The container of this name, or ``None`` where there is none.

        Raises:
            EngineUnavailable: not known.
        """

    async def knows_all_starts(self, name: str) -> bool:
        """Whether :meth:`find` tells of every start that was ever asked for; not so where the engine was restarted since.

        Raises:
            EngineUnavailable: not known.
        """

    async def list_ours(self) -> list[Found]:
        """Every container that this runner has made and that is still there, those of its earlier lives included.

        Raises:
            EngineUnavailable: not known.
        """

    async def belongings(self) -> list[Belonging]:
        """Everything that this runner has made, of whatever kind, and that is still there, also in its earlier lives.

        Raises:
            EngineUnavailable: not known.
        """

    async def remove(self, belonging: Belonging) -> None:
        """Remove it, whatever it is and does. None there is no error.

        Raises:
            EngineUnavailable: it may still be there.
        """

    async def list_running(self) -> list[RunningContainer]:
        """Every container of this runner that runs now, those of its earlier lives included, the newest first.

        Raises:
            EngineUnavailable: not known.
        """

    async def tail(self, container_id: str, lines: int, most_bytes: int) -> Tail:
        """The last lines that a container has written so far, to both streams together; of each stream at most so many bytes.

        Raises:
            ContainerGone: there is no such container.
            EngineUnavailable: not known.
        """

    def keep_warm(self, wanted: Sequence[Warm]) -> None:
        """From now on, as far as there is room, keep so many containers ready for executions like these, and no others: an
        attempt like them is prepared and started the faster. Returns at once; an engine that can't do that does nothing.
        """

    async def close(self) -> None:
        """Let go of connections, and of what is kept warm; containers with a job are left alone. Safe to repeat."""
