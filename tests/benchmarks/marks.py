"""When an execution passes which point of the hub's own code: written to a file, by a clock that all processes share.

The points are methods that are wrapped as the process starts; nothing of the hub knows of it. One that is not there (any more)
is left out, and the profile is the coarser for it.
"""

import functools
import importlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

#: From the arguments of a call (the object itself first) and its result to the execution's id; ``None`` for none.
Finder = Callable[[tuple[Any, ...], Any], "str | Iterable[str] | None"]


@dataclass(frozen=True, slots=True)
class Point:
    """A method that executions pass."""

    module: str
    owner: str
    method: str
    find: Finder
    #: What its begin and its end are called; ``None`` for what is not noted.
    begins: str | None = None
    ends: str | None = None


def _message(args: tuple[Any, ...], _result: Any) -> str:
    return str(args[2].id)


def _report_ids(batch: Any, *, ending: bool) -> list[str]:
    return [record.message.id.partition(":")[0] for record in batch if record.message.id.endswith(":end") == ending]


#: What may run programs: the product's, and the benchmark's own.
_ENGINES = (("runner.engines", "Engines"), ("tests.benchmarks.subprocess_engine", "SubprocessEngine"))


def _of_engines(method: str, find: Finder, begins: str | None, ends: str | None) -> list[Point]:
    return [Point(module, owner, method, find, begins, ends) for module, owner in _ENGINES]


POINTS = (
    Point("gateway.intake", "Intake", "_publish", _message, "gateway: checked, publishes", "gateway: confirmed"),
    Point("runner.claiming", "Claiming", "_handle", lambda args, _: str(args[1].message.id), "runner: taken"),
    Point(
        "runner.journal",
        "Journal",
        "claim",
        lambda args, _: str(args[1].execution_id),
        "runner: engine looked at, claims",
        "runner: claim in the journal",
    ),
    Point(
        "bus.rabbitmq.decisions",
        "RabbitDecisions",
        "decide",
        lambda args, _: str(args[1].execution_id),
        None,
        "runner: claim read back",
    ),
    Point(
        "bus.rabbitmq.tail",
        "ControlTail",
        "_written",
        lambda args, _: getattr(args[1], "execution_id", None),
        "runner: claim published",
        "runner: claim confirmed",
    ),
    Point(
        "bus.rabbitmq.tail",
        "ControlTail",
        "_apply",
        lambda args, _: [str(read.position.message_id).partition(":")[0] for read in args[1]],
        "runner: claim comes back",
        "runner: claim kept",
    ),
    Point(
        "runner.execution",
        "Execution",
        "_get_ready",
        lambda args, _: str(args[0].execution_id),
        "runner: gets ready",
        "runner: is ready",
    ),
    Point(
        "bus.rabbitmq.intake", "RabbitDelivery", "done", lambda args, _: str(args[0].message.id), None, "runner: acknowledged"
    ),
    Point(
        "runner.execution", "Execution", "run", lambda args, _: str(args[0].execution_id), "runner: cancels asked for, begins"
    ),
    Point("runner.execution", "Execution", "_plan", lambda args, _: str(args[0].execution_id), None, "runner: planned"),
    *_of_engines("take_warm", lambda args, _: str(args[1].execution_id), None, "engine: warm container taken"),
    *_of_engines("prepare", lambda args, _: str(args[1].execution_id), "runner: planned, prepares", "engine: container made"),
    Point(
        "runner.docker_engine", "DockerEngine", "_create", lambda args, _: str(args[1].execution_id), "engine: image looked up"
    ),
    Point(
        "runner.journal", "Journal", "starting", lambda args, _: str(args[1].execution_id), None, "runner: start in the journal"
    ),
    Point("runner.docker_output", "DockerOutput", "attach", lambda args, _: str(args[0]._name), None, "engine: attached"),
    *_of_engines("start", lambda args, _: str(args[1]), None, "engine: started"),
    Point(
        "runner.journal",
        "Journal",
        "started",
        lambda args, _: str(args[1].execution_id),
        None,
        "runner: running in the journal",
    ),
    *_of_engines("wait", lambda args, _: str(args[1]), None, "engine: end known"),
    Point(
        "runner.journal", "Journal", "wrote", lambda args, _: str(args[1].execution_id), None, "runner: output in the journal"
    ),
    Point(
        "runner.journal",
        "Journal",
        "ended",
        lambda args, _: str(args[1].execution_id),
        "runner: end decided",
        "runner: end in the journal",
    ),
    Point(
        "bus.rabbitmq.streams",
        "RabbitStreams",
        "append",
        lambda args, _: args[3].id.partition(":")[0] if args[3].id.endswith(":end") else None,
        "runner: end published",
        "runner: end confirmed",
    ),
    Point(
        "bus.rabbitmq.streams",
        "RabbitStreams",
        "append",
        lambda args, _: args[3].id.removesuffix(":1:1") if args[3].id.endswith(":1:1") else None,
        "runner: running published",
        "runner: running confirmed",
    ),
    Point(
        "hub.view",
        "View",
        "apply_log",
        lambda args, _: _report_ids(args[1], ending=True),
        "gateway: end arrived",
        "gateway: end in the view",
    ),
    Point("gateway.waits", "Waits", "ended", lambda args, _: str(args[1]), None, "gateway: wait is over"),
)


class Notes:
    """The file of marks. Each is one write, so processes may share it."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, name: str | None, found: "str | Iterable[str] | None") -> None:
        """Write down that these executions are at the point now."""
        if name is None or found is None:
            return
        now = time.monotonic_ns()
        for execution_id in (found,) if isinstance(found, str) else found:
            os.write(self._file, f"{now}\t{execution_id}\t{name}\n".encode())


def wrap_all(path: str) -> None:
    """Wrap every point that is there, and the output of the engine."""
    notes = Notes(path)
    for point in POINTS:
        owner = _owner(point.module, point.owner)
        if owner is not None and hasattr(owner, point.method):
            setattr(owner, point.method, _wrapped(getattr(owner, point.method), point, notes))
    for module, name in _ENGINES:
        if (engine := _owner(module, name)) is not None:
            engine.output = _noting_output(engine.output, notes)


def _owner(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _wrapped(method: Any, point: Point, notes: Notes) -> Any:
    @functools.wraps(method)
    async def noting(*args: Any, **kwargs: Any) -> Any:
        if point.begins is not None:
            notes.note(point.begins, point.find(args, None))
        result = await method(*args, **kwargs)
        notes.note(point.ends, point.find(args, result))
        return result

    return noting


def _noting_output(output: Any, notes: Notes) -> Any:
    @functools.wraps(output)
    async def noting(self: Any, name: str) -> AsyncGenerator[Any, None]:
        first = True
        frames = output(self, name)
        try:
            async for frame in frames:
                if first:
                    notes.note("engine: first output", name)
                first = False
                yield frame
        finally:
            await frames.aclose()
        notes.note("engine: output at its end", name)

    return noting
