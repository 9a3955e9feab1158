"""One life: a claimed attempt from its program's files to its end in the journal and its container's removal."""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from bus.backoff import Backoff
from runner.endings import Ending, Interruption, interrupted_by_restart, never_ran, ran
from runner.engine import Engine, Exit
from runner.errors import AlreadyStarted, CannotRun, ContainerGone, EngineUnavailable, Interrupted, JournalError
from runner.identity import Identity
from runner.journal import Claimed, Journal
from runner.lines import HUB, Lines
from runner.output import Capture, Piece, pump
from runner.ports import Catalogues
from runner.program_files import gather
from runner.reports import Reports
from runner.run_spec import HostPaths, Owner, RunSpec, container_name, plan
from runner.waiting import cancel, unless
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
#: Seconds that the output of an ended program may take to arrive.
_DRAIN_SECONDS = 30.0


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
        self._container_may_exist = container_may_exist
        #: What is said around the program, before it runs and after it has ended.
        self._before = Lines()
        self._after = Lines()
        self._log = log.bind(execution_id=claimed.execution_id, attempt=claimed.attempt)
        #: Seconds that stopping its program may take, SIGKILL excluded.
        self.stop_grace_seconds = 0.0

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
            await self._destroy_once()
            return False
        except CannotRun as error:
            await self._end(never_ran(error))
        except AlreadyStarted:
            await self.end_interrupted()
        except JournalError:
            raise  # the runner can't go on
        except Exception:
            self._log.exception("execution failed for an unknown reason", action="execution_crashed")
            await self._stop_surely()
            await self._end(
                Ending(status=Status.FAILED, reason=Reason.INTERNAL, message="The runner failed; its log has the cause.")
            )
        return True

    async def end_interrupted(self) -> None:
        """End what an earlier life of this runner had started: stop the program if it runs, and say why."""
        self._container_may_exist = True
        catalogue = self._around.catalogues.current
        program = catalogue.find(self._claimed.command.program_id)
        self.stop_grace_seconds = (program and program.stop_grace_seconds) or catalogue.settings.stop_grace_seconds
        await self._stop_surely()
        out, err = (
            # What was published is there for sure; what the program wrote beyond that is not known.
            summary.model_copy(update={"truncated": True})
            for summary in (self._claimed.stdout, self._claimed.stderr)
        )
        await self._end(interrupted_by_restart(), stdout=out, stderr=err)

    async def clean_up(self) -> None:
        """Remove the container, trying until Docker has done it, and forget the claim."""
        backoff = Backoff()
        while self._container_may_exist:
            try:
                await self._engine.destroy(self.name)
                break
            except EngineUnavailable as error:
                self._log.warning("container not removed yet", action="container_not_removed", error=str(error))
                await backoff.pause()
        await self._journal.forget(self._claimed)

    async def _run(self) -> tuple[Ending, list[Piece], StreamSummary, StreamSummary]:
        catalogue, program = await self._find_program()
        spec = await self._plan(catalogue, program)
        container_id = await self._prepare(spec)
        await self._start(spec)
        started_at = self._started_at = utc_now()
        running = self._reports.running(program.id, started_at=started_at, image=spec.image, container_id=container_id)
        await self._journal.started(self._claimed, started_at, running)
        self._log.info("execution started", action="execution_started", program_id=program.id)

        capture = Capture(catalogue.settings.output_limit)
        pumping = asyncio.create_task(pump(self._engine.output(self.name), capture, self._wrote), name="pump output")
        waiting = asyncio.create_task(self._engine.wait(self.name), name="wait for the program")
        exit_: Exit | None = None
        try:
            interruption = await self._until_end(waiting, pumping, spec.timeout_seconds)
            if interruption is not None:
                self._log.info("stopping program", action="execution_stopping", why=interruption.name.lower())
                await self._stop_surely()
            with contextlib.suppress(ContainerGone):
                exit_ = await waiting
            await self._drain(pumping)
        finally:
            await cancel(pumping, waiting)
        pieces, out, err = capture.finish()
        ending = ran(exit_, interruption=interruption, memory_bytes=spec.memory_bytes, stderr=err.content_bytes())
        return ending, pieces, out, err

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
        if program.path_docker_compose_run is not None:
            raise CannotRun(Reason.UNSUPPORTED, f"Program '{program.id}' is run by a Compose file, which this runner can't do")
        return catalogue, program

    async def _plan(self, catalogue: Catalogue, program: Program) -> RunSpec:
        command, around = self._claimed.command, self._around
        self._log.info(parameters_line(program.parameters, command.parameters), action="program_parameters")
        files = await asyncio.to_thread(gather, program, catalogue.project_dir, around.out_of_bounds)
        project_dir = catalogue.project_dir.absolute()
        spec = plan(
            program,
            catalogue.settings,
            files,
            execution_id=self._claimed.execution_id,
            attempt=self._claimed.attempt,
            parameters=command.parameters,
            paths=HostPaths(project_dir, around.host_project_dir or project_dir),
            owner=Owner(around.identity, self._journal.epoch),
            now=utc_now(),
        )
        self.stop_grace_seconds = spec.stop_grace_seconds
        for note in spec.notes:
            self._before.say(HUB, note)
            self._log.info(note, action="execution_note")
        command_line = masked_command_line([spec.image, *(spec.argv or spec.arguments)])
        self._log.info("Docker command: %s", command_line, action="docker_command")
        return spec

    async def _prepare(self, spec: RunSpec) -> str:
        self._container_may_exist = True
        container_id = await unless(self._do_not_start, self._prepare_patiently(spec))
        if self._do_not_start.is_set():
            raise Interrupted
        return container_id

    async def _prepare_patiently(self, spec: RunSpec) -> str:
        give_up_at = time.monotonic() + self._around.patience_seconds
        backoff = Backoff()
        while True:
            try:
                return await self._engine.prepare(spec)
            except EngineUnavailable as error:
                if time.monotonic() > give_up_at:
                    raise CannotRun(Reason.DOCKER_UNAVAILABLE, f"Docker is not available: {error}") from error
                await backoff.pause()

    async def _start(self, spec: RunSpec) -> None:
        # On disk before the order is given: a runner that comes back never gives the order again.
        await self._journal.starting(self._claimed, spec.program_id)
        try:
            await self._engine.start(self.name)
        except EngineUnavailable as error:
            # It may run all the same, unwatched: make an end of it.
            await self._stop_surely()
            raise CannotRun(
                Reason.DOCKER_UNAVAILABLE, f"Docker did not answer when the program was to be started: {error}"
            ) from error

    async def _until_end(
        self, waiting: asyncio.Task[Exit], pumping: asyncio.Task[None], timeout_seconds: float
    ) -> Interruption | None:
        """Wait for the program's end; what is to interrupt it, where something came first."""
        deadline = time.monotonic() + timeout_seconds
        stopping = asyncio.create_task(self._stop.wait(), name="wait for a stop")
        watched: set[asyncio.Task[object]] = {waiting, pumping, stopping}
        try:
            while True:
                done, _ = await asyncio.wait(
                    watched, timeout=max(0.0, deadline - time.monotonic()), return_when=asyncio.FIRST_COMPLETED
                )
                if waiting in done:
                    return None
                if stopping in done:
                    return Interruption.RUNNER_STOPPED
                if pumping in done:
                    pumping.result()  # a pump that failed would leave the program blocked on its output
                    watched.discard(pumping)
                elif not done:
                    return Interruption.TIME_LIMIT
        finally:
            await cancel(stopping)

    async def _drain(self, pumping: asyncio.Task[None]) -> None:
        """Wait until everything that the ended program wrote is in."""
        done, _ = await asyncio.wait({pumping}, timeout=_DRAIN_SECONDS)
        if done:
            pumping.result()
        else:
            self._log.warning("output did not end in time, its end may be missing", action="output_cut")

    async def _stop_surely(self) -> None:
        """Stop the program, trying until Docker says that it does not run: until then its slot stays taken."""
        backoff = Backoff()
        while self._container_may_exist:
            try:
                await self._engine.stop(self.name, self.stop_grace_seconds)
            except EngineUnavailable as error:
                self._log.warning("program not stopped yet", action="execution_not_stopped", error=str(error))
                await backoff.pause()
            else:
                return

    async def _destroy_once(self) -> None:
        if self._container_may_exist:
            try:
                await self._engine.destroy(self.name)
            except EngineUnavailable as error:  # the next start clears it away
                self._log.warning("container not removed", action="container_not_removed", error=str(error))

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
