"""One life: a claimed attempt from its program's files to its end in the journal and its container's removal."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import structlog

from bus.backoff import Backoff
from runner.actions import find_actions, read_action_requirements
from runner.compose_files import locate
from runner.compose_spec import ComposeSpec, plan_compose
from runner.container import Container, StepEnd
from runner.endings import (
    Ending,
    Interruption,
    exit_code_for_action,
    interrupted_by_restart,
    never_ran,
    not_let_run,
    ran,
)
from runner.engine import Engine, Frame, Prepared, Spec
from runner.errors import AlreadyStarted, CannotRun, EngineForbidden, EngineUnavailable, Interrupted, JournalError
from runner.identity import Identity
from runner.journal import Claimed, Journal
from runner.lines import HUB, Lines
from runner.output import Capture, Piece, pump
from runner.ports import Catalogues
from runner.program_files import gather
from runner.reports import Reports
from runner.run_spec import HostPaths, Owner, RunSpec, container_name, plan
from runner.steps import Step
from runner.telling import Telling
from runner.waiting import unless
from schemas.catalogue import Catalogue
from schemas.ids import routable_program_id
from schemas.masking import masked_command_line, parameters_line
from schemas.output import StreamSummary
from schemas.programs import Program
from schemas.reasons import Reason
from schemas.status import Status
from schemas.times import utc_now

log = structlog.get_logger()

#: Seconds that an execution whose program was not started yet waits for Docker to come back.
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every execution of a runner works with."""

    engine: Engine
    journal: Journal
    catalogues: Catalogues
    identity: Identity
    #: The project's folder as the engine's host sees it; ``None`` where that is how this process sees it.
    host_project_dir: Path | None = None
    #: No program's folder may hold one of these.
    out_of_bounds: tuple[Path, ...] = ()
    #: A file of CA certificates that pip and programs shall trust, as this process sees it.
    ca_bundle: Path | None = None
    patience_seconds: float = _PATIENCE_SECONDS


class Execution:
    """One attempt that this runner owns. :meth:`run` once, then :meth:`clean_up` where that said so."""

    def __init__(self, claimed: Claimed, surroundings: Surroundings, *, container_may_exist: bool = False) -> None:
        self._claimed = claimed
        self._around = surroundings
        self._engine = surroundings.engine
        self._journal = surroundings.journal
        self._reports = Reports(claimed, surroundings.identity)
        #: Of its container.
        self.name = container_name(*claimed.key)
        self._do_not_start = asyncio.Event()
        self._stop = asyncio.Event()
        self._started_at = claimed.started_at
        self._program_id = claimed.program_id or routable_program_id(claimed.command.program_id)
        self._log = log.bind(execution_id=claimed.execution_id, attempt=claimed.attempt)
        self._container = Container(surroundings.engine, self.name, self._log, may_exist=container_may_exist)
        #: What was said around the program: before it ran, and after it had ended.
        self._before = Lines()
        self._after = Lines()

    @property
    def stop_grace_seconds(self) -> float:
        """Seconds that stopping its program may take, SIGKILL excluded."""
        return self._container.stop_grace_seconds

    def do_not_start(self) -> None:
        """If the program was not started yet, leave it to the next life of this runner."""
        self._do_not_start.set()

    def stop(self) -> None:
        """End the program if it runs; do not start it otherwise."""
        self._do_not_start.set()
        self._stop.set()

    async def run(self) -> bool:
        """Run the program to its end.

        When this returns true its terminal event is in the journal; false means that it was not started and shall be started
        by the next life. Either way it does not run (any more).
        """
        try:
            await self._end(*await self._run())
        except Interrupted:
            self._log.info("execution left for the next start", action="execution_postponed")
            await self._container.destroy_once()
            return False
        except CannotRun as error:
            await self._end(never_ran(error))
        except AlreadyStarted:
            await self.end_interrupted()
        except JournalError:
            raise  # the runner can't go on
        except Exception:
            self._log.exception("execution failed for an unknown reason", action="execution_crashed")
            await self._container.stop_surely()
            await self._end(
                Ending(status=Status.FAILED, reason=Reason.INTERNAL, message="The runner failed; its log has the cause.")
            )
        return True

    async def end_interrupted(self) -> None:
        """End what an earlier life of this runner had started: stop the program if it runs, and say why."""
        self._container.may_exist = True
        catalogue = self._around.catalogues.current
        program = catalogue.find(self._claimed.command.program_id)
        self._container.stop_grace_seconds = (program and program.stop_grace_seconds) or catalogue.settings.stop_grace_seconds
        await self._container.stop_surely()
        out, err = (
            # What was published is there for sure; what the program wrote beyond that is not known.
            summary.model_copy(update={"truncated": True})
            for summary in (self._claimed.stdout, self._claimed.stderr)
        )
        await self._end(interrupted_by_restart(), stdout=out, stderr=err)

    async def clean_up(self) -> None:
        """Remove the container, trying until Docker has done it, and forget the claim."""
        await self._container.destroy_surely()
        await self._journal.forget(self._claimed)

    async def _run(self) -> tuple[Ending, list[Piece], StreamSummary, StreamSummary]:
        catalogue, program = await self._find_program()
        spec = await self._plan(catalogue, program)
        prepared = await self._prepare(spec)
        for note in prepared.notes:
            self._before.say(HUB, note)
        if spec.actions - prepared.actions:
            self._before.say(HUB, "no actions: they need sh and python, and the image lacks them")
        # On disk before the first order is given: a runner that comes back never gives an order again.
        await self._journal.starting(self._claimed, spec.program_id)
        if Step.BEFORE in prepared.actions:
            await self._start(Step.BEFORE)
            await self._tell_running(spec, prepared)
            end = await self._act(Step.BEFORE, spec, self._before)
            refusal = not_let_run(
                end.exit,
                interruption=Interruption.RUNNER_STOPPED if self._stop.is_set() else end.interruption,
                limit_seconds=spec.action_timeout_seconds,
            )
            if refusal is not None:
                return refusal, [], StreamSummary(), StreamSummary()
        await self._start(Step.PROGRAM)
        if Step.BEFORE not in prepared.actions:
            await self._tell_running(spec, prepared)
        capture = Capture(catalogue.settings.output_limit)
        end = await self._container.watch(
            lambda frames: pump(frames, capture, self._wrote), limit_seconds=spec.timeout_seconds, stop=self._stop
        )
        pieces, out, err = capture.finish()
        ending = ran(end.exit, interruption=end.interruption, memory_bytes=spec.memory_bytes, stderr=err.content_bytes())
        if Step.AFTER in prepared.actions:
            await self._act_after(ending, spec)
        return ending, pieces, out, err

    async def _act(self, step: Step, spec: Spec, lines: Lines) -> StepEnd:
        """See an action that was started to its end."""

        async def collect(frames: AsyncGenerator[Frame, None]) -> None:
            async for frame in frames:
                lines.add(f"[{step.value}]", frame.content)

        return await self._container.watch(collect, limit_seconds=spec.action_timeout_seconds, stop=self._stop)

    async def _act_after(self, ending: Ending, spec: Spec) -> None:
        """Run ``act_after``. Whatever becomes of it, the execution's ending stands."""
        exit_code = exit_code_for_action(ending)
        if exit_code is None or self._stop.is_set():
            why = "the container is gone" if exit_code is None else "the runner was stopped"
            self._after.say(HUB, f"{Step.AFTER.value} was not run: {why}")
            return
        try:
            await self._engine.start(self.name, Step.AFTER, exit_code=exit_code)
            end = await self._act(Step.AFTER, spec, self._after)
        except (CannotRun, EngineUnavailable) as error:
            await self._container.stop_surely()
            self._after.say(HUB, f"{Step.AFTER.value} could not be run: {error}")
            return
        if end.interruption is Interruption.TIME_LIMIT:
            self._after.say(HUB, f"{Step.AFTER.value} was stopped after {spec.action_timeout_seconds:g} s")
        elif end.exit is not None and end.exit.code != 0:
            self._after.say(HUB, f"{Step.AFTER.value} exited with code {end.exit.code}")

    async def _find_program(self) -> tuple[Catalogue, Program]:
        name = self._claimed.command.program_id
        catalogue = self._around.catalogues.current
        program = catalogue.find(name)
        if program is None:
            # It may have been added a moment ago, and its command been faster than the news.
            catalogue = await self._around.catalogues.reload()
            program = catalogue.find(name)
        if program is None:
            raise CannotRun(Reason.UNKNOWN_PROGRAM, f"Program with ID '{name}' not found")
        self._program_id = program.id
        if not program.enabled:
            raise CannotRun(Reason.DISABLED, f"Program '{name}' is disabled")
        return catalogue, program

    async def _plan(self, catalogue: Catalogue, program: Program) -> Spec:
        self._log.info(parameters_line(program.parameters, self._claimed.command.parameters), action="program_parameters")
        is_compose = program.path_docker_compose_run is not None
        spec = await (self._plan_project(catalogue, program) if is_compose else self._plan_container(catalogue, program))
        self._container.stop_grace_seconds = spec.stop_grace_seconds
        for note in spec.notes:
            self._before.say(HUB, note)
            self._log.info(note, action="execution_note")
        self._log.info("Docker command: %s", masked_command_line(spec.command_line), action="docker_command")
        return spec

    async def _plan_project(self, catalogue: Catalogue, program: Program) -> ComposeSpec:
        around = self._around
        place = await asyncio.to_thread(locate, program, catalogue.project_dir, around.out_of_bounds)
        project_dir = catalogue.project_dir.absolute()
        return plan_compose(
            program,
            catalogue.settings,
            place,
            execution_id=self._claimed.execution_id,
            attempt=self._claimed.attempt,
            parameters=self._claimed.command.parameters,
            paths=HostPaths(project_dir, around.host_project_dir or project_dir),
            owner=Owner(around.identity, self._journal.epoch),
            now=utc_now(),
            has_actions=bool(await asyncio.to_thread(find_actions, project_dir)),
        )

    async def _plan_container(self, catalogue: Catalogue, program: Program) -> RunSpec:
        command, around = self._claimed.command, self._around
        files = await asyncio.to_thread(gather, program, catalogue.project_dir, around.out_of_bounds)
        project_dir = catalogue.project_dir.absolute()
        return plan(
            program,
            catalogue.settings,
            files,
            execution_id=self._claimed.execution_id,
            attempt=self._claimed.attempt,
            parameters=command.parameters,
            paths=HostPaths(project_dir, around.host_project_dir or project_dir),
            owner=Owner(around.identity, self._journal.epoch),
            now=utc_now(),
            actions=await asyncio.to_thread(find_actions, project_dir),
            actions_require=await asyncio.to_thread(read_action_requirements, project_dir),
            ca_bundle=around.ca_bundle,
        )

    async def _prepare(self, spec: Spec) -> Prepared:
        self._container.may_exist = True
        prepared = await unless(self._do_not_start, self._prepare_patiently(spec))
        if self._do_not_start.is_set():
            raise Interrupted
        return prepared

    async def _prepare_patiently(self, spec: Spec) -> Prepared:
        listener = Telling(self._journal, self._reports, spec.program_id, self._before)
        give_up_at = time.monotonic() + self._around.patience_seconds
        backoff = Backoff()
        while True:
            try:
                return await self._engine.prepare(spec, listener)
            except EngineUnavailable as error:
                if time.monotonic() > give_up_at:
                    raise CannotRun(_reason_of(error), f"Docker is not available: {error}") from error
                await backoff.pause()

    async def _start(self, step: Step) -> None:
        try:
            await self._engine.start(self.name, step)
        except EngineUnavailable as error:
            # It may run all the same, unwatched: make an end of it.
            await self._container.stop_surely()
            raise CannotRun(_reason_of(error), f"Docker did not answer when the program was to be started: {error}") from error

    async def _tell_running(self, spec: Spec, prepared: Prepared) -> None:
        started_at = self._started_at = utc_now()
        running = self._reports.running(
            spec.program_id, started_at=started_at, image=spec.image, container_id=prepared.container_id
        )
        await self._journal.started(self._claimed, started_at, running)
        self._log.info("execution started", action="execution_started", program_id=spec.program_id)

    async def _wrote(self, piece: Piece) -> None:
        await self._journal.wrote(self._claimed, piece, self._reports.wrote(self._program_id, piece))

    async def _end(
        self,
        ending: Ending,
        pieces: list[Piece] | None = None,
        stdout: StreamSummary | None = None,
        stderr: StreamSummary | None = None,
    ) -> None:
        reports = [self._reports.wrote(self._program_id, piece) for piece in pieces or []]
        ended = self._reports.ended(
            self._program_id,
            ending,
            started_at=self._started_at,
            ended_at=utc_now(),
            stdout=stdout or StreamSummary(),
            stderr=stderr or StreamSummary(),
            lines_before=self._before.text(),
            lines_after=self._after.text(),
        )
        reports.append(ended)
        await self._journal.ended(self._claimed, *reports)
        self._log.info(
            "execution ended",
            action="execution_ended",
            program_id=self._program_id,
            status=ending.status.value,
            reason=ending.reason and ending.reason.value,
            exit_code=ending.exit_code,
        )


def _reason_of(error: EngineUnavailable) -> Reason:
    return Reason.PERMISSION_DENIED if isinstance(error, EngineForbidden) else Reason.DOCKER_UNAVAILABLE
