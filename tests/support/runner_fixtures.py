"""A runner with what it needs, and questions about what it told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bus.messages import Message
from bus.messages import StreamName as BusStream
from runner.course import Course
from runner.engine import Engine
from runner.fake_engine import FakeEngine
from runner.free_space import FreeSpace
from runner.identity import Identity
from runner.journal import Journal
from runner.service import Runner
from schemas.catalogue import Catalogue
from schemas.events import ATTEMPT_ENDED_KEYS, AttemptEnded, Ended, Queued, Running, parse_attempt_ended, parse_event
from schemas.ids import new_execution_id
from schemas.late_result_events import LATE_RESULT_KEYS
from schemas.output import StreamName
from schemas.output_events import OutputChunk, parse_output
from schemas.programs import Program, ProgramKind
from schemas.progress_events import PROGRESS_KEYS, Progress, parse_progress
from schemas.settings import ProgramSettings
from tests.support.memory_bus import MemoryBus
from tests.support.wait import eventually

IDENTITY = Identity("test-instance", "test-runner")


def make_program(name: str = "example", **fields: Any) -> Program:
    """A program whose path is its id."""
    return Program(**{"key": name, "id": name, "name": name, "kind": ProgramKind.SCRIPT, "path": name, **fields})


def a_course(program_id: str = "example", **fields: Any) -> Course:
    """The course of an attempt that has not begun its first step."""
    return Course(
        **{
            "program_id": program_id,
            "image": "i",
            "container_id": "c",
            "memory_bytes": 1024**3,
            "timeout_seconds": 60,
            "stop_grace_seconds": 0.1,
            "output_limit": 1024**2,
            "actions": frozenset(),
            "action_timeout_seconds": 60,
            **fields,
        }
    )


@dataclass
class FakeCatalogues:
    """A catalogue that tests swap; a reload brings ``after_reload``."""

    current: Catalogue
    after_reload: Catalogue | None = None
    reloads: int = 0

    async def reload(self) -> Catalogue:
        """Read again."""
        self.reloads += 1
        self.current = self.after_reload or self.current
        return self.current


@dataclass
class Hub:
    """A runner and its surroundings, which outlive it."""

    state_dir: Path
    catalogues: FakeCatalogues
    engine: Engine = field(default_factory=FakeEngine)
    bus: MemoryBus = field(default_factory=MemoryBus)
    identity: Identity = IDENTITY
    host_project_dir: Path | None = None
    ca_bundle: Path | None = None
    free_space: FreeSpace | None = None
    sweep_seconds: float = 30.0

    @property
    def fake(self) -> FakeEngine:
        """The engine, where it is the fake."""
        assert isinstance(self.engine, FakeEngine)
        return self.engine

    def add_program(self, name: str, source: str = "", **fields: Any) -> None:
        """One more program in config.yaml, with its folder."""
        current = self.catalogues.current
        program = make_program(name, **fields)
        folder = current.project_dir / program.path
        folder.mkdir()
        (folder / "main.py").write_text(source, encoding="utf-8")
        self.catalogues.current = Catalogue((*current.programs, program), current.settings, current.project_dir)

    def set_settings(self, **fields: Any) -> None:
        """Edit the settings, as a hot reload does."""
        current = self.catalogues.current
        settings = current.settings.model_copy(update=fields)
        self.catalogues.current = Catalogue(current.programs, settings, current.project_dir)

    @asynccontextmanager
    async def runner(self, *, stop_limit_seconds: float = 5.0) -> AsyncIterator[Runner]:
        """A running runner, stopped at the end."""
        async with self.journal() as journal:
            runner = self.make_runner(journal)
            running = asyncio.create_task(runner.run())
            try:
                yield runner
            finally:
                if not running.done():
                    await runner.stop(stop_limit_seconds)
                await running

    @asynccontextmanager
    async def crashing_runner(self) -> AsyncIterator[Runner]:
        """A running runner that is gone at the end as after a SIGKILL, with its programs left running."""
        async with self.journal() as journal:
            runner = self.make_runner(journal)
            running = asyncio.create_task(runner.run())
            try:
                yield runner
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                if isinstance(self.bus, MemoryBus):
                    self.bus.commands_.take_back()

    @asynccontextmanager
    async def journal(self) -> AsyncIterator[Journal]:
        """The journal, open."""
        journal = Journal(self.state_dir / "journal.db")
        await journal.open()
        try:
            yield journal
        finally:
            await journal.close()

    def make_runner(self, journal: Journal) -> Runner:
        """A runner that does not run yet."""
        return Runner(
            bus=self.bus,
            catalogues=self.catalogues,
            engine=self.engine,
            journal=journal,
            identity=self.identity,
            pool="default",
            host_project_dir=self.host_project_dir,
            ca_bundle=self.ca_bundle,
            free_space=self.free_space,
            sweep_seconds=self.sweep_seconds,
        )

    async def submit(self, program: str = "example", /, **parameters: Any) -> str:
        """Publish a command; its execution id."""
        execution_id = new_execution_id()
        await self.publish(execution_id, {"program_id": program, "parameters": parameters})
        return execution_id

    async def publish(self, message_id: str | None, body: Any) -> None:
        """Publish anything."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.bus.commands.accept("default", Message(id=message_id, body=content))

    def events(self, execution_id: str) -> list[Queued | Running | Ended]:
        """What was told about an execution, in order."""
        events = [
            parse_event(record.message.body)
            for record in self.bus.streams_.records[BusStream.LOG]
            if record.key.startswith("execution.")
            and not record.key.startswith((PROGRESS_KEYS, ATTEMPT_ENDED_KEYS, LATE_RESULT_KEYS))
        ]
        return [event.data for event in events if event.subject == execution_id]

    def attempts_ended(self, execution_id: str) -> list[AttemptEnded]:
        """The ends of attempts that another one follows, in order."""
        events = [
            parse_attempt_ended(record.message.body)
            for record in self.bus.streams_.records[BusStream.LOG]
            if record.key.startswith(ATTEMPT_ENDED_KEYS)
        ]
        return [event.data for event in events if event.subject == execution_id]

    def progress(self, execution_id: str) -> list[Progress]:
        """What was told of an execution's preparation, in order."""
        events = [
            parse_progress(record.message.body)
            for record in self.bus.streams_.records[BusStream.LOG]
            if record.key.startswith(PROGRESS_KEYS)
        ]
        return [event.data for event in events if event.subject == execution_id]

    def chunks(self, execution_id: str) -> list[OutputChunk]:
        """The chunks that were told, in order."""
        events = [parse_output(record.message.body) for record in self.bus.streams_.records[BusStream.OUTPUT]]
        return [event.data for event in events if event.subject == execution_id]

    def output(self, execution_id: str, stream: StreamName) -> bytes:
        """All chunks of one stream together; their numbers are checked."""
        chunks = [chunk for chunk in self.chunks(execution_id) if chunk.stream is stream]
        assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
        return b"".join(chunk.content_bytes() for chunk in chunks)

    async def ended(self, execution_id: str, *, within_seconds: float = 30.0) -> Ended:
        """The terminal event, once it was told; there must be one alone."""

        async def look() -> list[Ended]:
            return [event for event in self.events(execution_id) if isinstance(event, Ended)]

        (ended,) = await eventually(look, within_seconds=within_seconds)
        return ended

    async def run(self, program_id: str = "example", *, within_seconds: float = 30.0) -> Ended:
        """The end of one more run."""
        return await self.ended(await self.submit(program_id), within_seconds=within_seconds)

    async def is_running(self, execution_id: str) -> Running:
        """The event that it runs, once it was told."""

        async def look() -> list[Running]:
            return [event for event in self.events(execution_id) if isinstance(event, Running)]

        (running, *_) = await eventually(look)
        return running


def make_hub(folder: Path, *programs: Program, engine: Engine | None = None, **settings: Any) -> Hub:
    """Surroundings in a folder, in which each program has a folder with a ``main.py``."""
    project = folder / "project"
    for program in programs or (make_program(),):
        (project / program.path).mkdir(parents=True, exist_ok=True)
        (project / program.path / "main.py").touch()
    catalogue = Catalogue(tuple(programs or (make_program(),)), ProgramSettings(**settings), project)
    hub = Hub(folder / "state", FakeCatalogues(catalogue))
    if engine is not None:
        hub.engine = engine
    return hub
