"""One life: a claimed attempt from its program's files to its end in the journal and its container's removal."""

import asyncio
import random
import time
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

import structlog

from bus.backoff import Backoff
from bus.errors import Fenced
from bus.messages import CANCELLED, End
from runner.boot_clock import Moment
from runner.claimed import Claimed
from runner.container import Container
from runner.course import Course
from runner.endings import Ending, cancelled, interrupted_by_restart, never_ran
from runner.engine import NEVER as NEVER_STARTED
from runner.engine import NO_ORDER, Order, Prepared, Spec
from runner.errors import (
    AlreadyStarted,
    Cancelled,
    CannotRun,
    ContainerGone,
    Detached,
    EngineUnavailable,
    Interrupted,
    JournalError,
    NeverStarted,
    NotAdoptable,
)
from runner.lines import HUB, Lines
from runner.output import Piece
from runner.planning import find_program, make_spec
from runner.reports import Reports
from runner.run_spec import container_name
from runner.step_by_step import Outcome, StepByStep, Witness
from runner.surroundings import Surroundings
from runner.telling import Telling
from runner.waiting import cancel, unless
from schemas.catalogue import Catalogue
from schemas.ids import routable_program_id
from schemas.masking import masked_command_line, parameters_line
from schemas.output import StreamName, StreamSummary
from schemas.reasons import Reason
from schemas.retries import NEVER, Retry
from schemas.status import Status
from schemas.times import utc_now

log = structlog.get_logger()

#: Seconds that SIGKILL, and clearing away what is left, may take.
_CLEARING_SECONDS = 20.0


class Fate(Enum):
    """What became of an attempt in this life of the runner."""

    #: The event of its end is in the journal, and nothing runs.
    ENDED = auto()
    #: It was not started, and shall be by the next life.
    POSTPONED = auto()
    #: It runs on, and the next life takes it up.
    DETACHED = auto()
    #: The runner was given up, and others have ended it: nothing runs.
    LOST = auto()


@dataclass(frozen=True, slots=True)
class _Ready:
    """What is known, and there, before an attempt is run."""

    catalogue: Catalogue
    spec: Spec
    #: Its course in a container that was kept warm for it, with the first step in the journal as if it was ordered; ``None``
    #: where a container is still to be made.
    course: Course | None


class Execution:
    """One attempt that this runner owns, or is about to. :meth:`run` or :meth:`go_on` once, then :meth:`clean_up` where it has
    ended.
    """

    def __init__(
        self, claimed: Claimed, surroundings: Surroundings, *, container_may_exist: bool = False, is_claimed: bool = True
    ) -> None:
        self._claimed = claimed
        self._around = surroundings
        self._engine = surroundings.engine
        self._journal = surroundings.journal
        self._reports = Reports(claimed, surroundings.identity)
        #: Of its container.
        self.name = container_name(*claimed.key)
        #: Set when whoever prepares the program shall leave off, because the runner stops or somebody cancelled it.
        self._do_not_start = asyncio.Event()
        self._started_at = claimed.started_at
        #: Whether a step was begun, by this life or an earlier one.
        self._has_begun = False
        #: When it was started, by the clock that nobody can set; of an earlier life, what is known: not after it.
        self._begun: Moment | None = None
        #: Whether its container waited for it; of an earlier life that is not known.
        self._was_warm = False
        self._program_id = claimed.program_id or routable_program_id(claimed.command.program_id)
        self._log = log.bind(execution_id=claimed.execution_id, attempt=claimed.attempt)
        self._container = Container(surroundings.engine, self.name, self._log, may_exist=container_may_exist)
        #: What was said around the program: before it ran, and after it had ended.
        self._before = Lines()
        self._after = Lines()
        #: Is done once this has heard of an end that came before it was in hand.
        self._ends_told: Awaitable[None] | None = None
        #: Set once the claim is in the journal.
        self.is_claimed = asyncio.Event()
        if is_claimed:
            self.is_claimed.set()
        #: What :meth:`get_ready` has begun.
        self._getting_ready: asyncio.Task[_Ready] | None = None
        #: Whether the first step is in the journal as ordered.
        self._is_ordered = False
        #: The event of its start on its way into the journal.
        self._start_written: asyncio.Task[None] | None = None

    @property
    def seconds_to_let_go(self) -> float:
        """Seconds that :meth:`detach` may take: what nobody can take up is stopped and cleared away."""
        return 0.0 if self._container.adoptable else self._container.stop_grace_seconds + _CLEARING_SECONDS

    @property
    def key(self) -> tuple[str, int]:
        """Which attempt of which execution it is."""
        return self._claimed.key

    @property
    def execution_id(self) -> str:
        """Which execution it is an attempt of."""
        return self._claimed.execution_id

    @property
    def epoch(self) -> str:
        """The epoch that it was claimed under."""
        return self._claimed.epoch

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked for its end."""
        return self._container.cancel.is_set()

    def cancel(self, end: End) -> None:
        """Somebody asked for its end: what was not started never is, and what runs is stopped. Safe to repeat.

        An end of another kind is none for what was claimed before it came.
        """
        if end.reason != CANCELLED or self.is_cancelled:
            return
        self._log.info("execution cancelled", action="execution_cancelled", requested_by=end.requested_by, why=end.why)
        self._container.cancellation = end.told
        self._container.cancel.set()
        self._do_not_start.set()

    def do_not_start(self) -> None:
        """If the program was not started yet, leave it to the next life of this runner."""
        self._do_not_start.set()

    def detach(self) -> None:
        """Let go of the program if it runs, and do not start it otherwise: the next life of this runner takes it up."""
        self._do_not_start.set()
        self._container.detach.set()

    def get_ready(self) -> None:
        """Begin to plan it and to take what was kept warm for it, and once it is claimed, to write down that it is started in
        there: all while it is not known yet whether it is to be run here. Nobody is told of that. Then comes :meth:`run`,
        or :meth:`leave_off`.
        """
        self._ready_soon()

    async def leave_off(self) -> None:
        """It is not to be run here: leave off getting ready. What is there already, :meth:`clean_up` removes."""
        if self._getting_ready is not None:
            await cancel(self._getting_ready)
            self._getting_ready = None

    async def run(self, ends_told: Awaitable[None] | None = None) -> Fate:
        """Run the program to its end. Nothing is started before ``ends_told``: before it was told of what ended it already."""
        self._ends_told = ends_told
        return await self._see_through(self._from_the_start())

    async def go_on(self) -> Fate:
        """Take up what an earlier life of this runner has started, and see it to its end."""
        course = self._claimed.course
        if course is not None and course.steps:
            self._has_begun, self._begun = True, course.steps[0].at
        return await self._see_through(self._from_where_it_stood())

    async def _see_through(self, going: Coroutine[Any, Any, Outcome]) -> Fate:
        try:
            await self._end(await going)
        except Interrupted:
            self._log.info("execution left for the next start", action="execution_postponed")
            # Where the journal says that it was ordered, its container alone can tell that nothing has begun.
            if not self._is_ordered:
                await self._container.destroy_once()
            return Fate.POSTPONED
        except Detached:
            self._log.info("program left running for the next start", action="execution_detached")
            return Fate.DETACHED
        except Fenced:
            self._log.warning("execution given up with its runner's epoch", action="execution_lost")
            await self._container.stop_surely()
            return Fate.LOST
        except Cancelled:
            await self._end(_outcome(cancelled(self._container.cancellation)))
        except CannotRun as error:
            await self._end(_outcome(await self._why_not(error)))
        except NeverStarted:
            self._log.info("nothing had begun: starting it again", action="execution_never_began")
            self._has_begun, self._begun, self._before = False, None, Lines()
            return await self.run()
        except AlreadyStarted:
            # It was seen as not started while the engine was still busy carrying out the order of an earlier life.
            if self._claimed.course is not None:
                return await self.go_on()
            await self._end_interrupted()
        except (ContainerGone, NotAdoptable):
            await self._end_interrupted()
        except JournalError:
            raise  # the runner can't go on
        except Exception:
            self._log.exception("execution failed for an unknown reason", action="execution_crashed")
            await self._container.stop_surely()
            failure = Ending(status=Status.FAILED, reason=Reason.INTERNAL, message="The runner failed; its log has the cause.")
            await self._end(_outcome(failure))
        return Fate.ENDED

    async def _end_interrupted(self) -> None:
        """End what an earlier life had started and nobody can take up: stop the program if it runs, and say why."""
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
        course = self._claimed.course
        had_ended = course is not None and course.ending is not None
        ending = cancelled(self._container.cancellation) if self.is_cancelled and not had_ended else interrupted_by_restart()
        await self._end(Outcome(ending=ending, pieces=[], stdout=out, stderr=err))

    async def clear_away(self) -> None:
        """Remove the container if the engine answers; whoever has its name next clears away what is left."""
        await self._container.destroy_once()

    async def clean_up(self) -> None:
        """Remove the container, trying until Docker has done it, and forget the claim."""
        await self._container.destroy_surely()
        await self._journal.forget(self._claimed)

    async def _from_the_start(self) -> Outcome:
        ready = await self._made_ready()
        self._raise_if_not_to_be_started()
        if ready.course is not None:
            return await self._step_by_step(ready.course, NO_ORDER, is_written=True)
        prepared = await self._prepare(ready.spec)
        return await self._step_by_step(self._course(ready.catalogue, ready.spec, prepared), NO_ORDER)

    def _course(self, catalogue: Catalogue, spec: Spec, prepared: Prepared) -> Course:
        self._container.adoptable = prepared.adoptable
        self._was_warm = prepared.was_warm
        for note in prepared.notes:
            self._before.say(HUB, note)
        if spec.actions - prepared.actions:
            self._before.say(HUB, "no actions: they need sh and python, and the image lacks them")
        return Course(
            program_id=spec.program_id,
            image=spec.image,
            container_id=prepared.container_id,
            memory_bytes=spec.memory_bytes,
            timeout_seconds=spec.timeout_seconds,
            stop_grace_seconds=spec.stop_grace_seconds,
            output_limit=catalogue.settings.output_limit,
            actions=prepared.actions,
            action_timeout_seconds=spec.action_timeout_seconds,
            said_before=self._before.text(),
            plan=prepared.plan,
        )

    async def _from_where_it_stood(self) -> Outcome:
        course = self._claimed.course
        if course is None:
            raise ContainerGone(f"container {self.name} was started by a runner that did not say how")
        self._before = Lines()
        self._container.may_exist = True
        self._container.stop_grace_seconds = course.stop_grace_seconds
        if course.said_before is not None:
            self._before.restore(course.said_before)
        self._log.info("execution taken up", action="execution_adopted", step=course.current.step.value)
        return await self._step_by_step(course, await self._journal.order(self._claimed))

    async def _step_by_step(self, course: Course, order: Order, *, is_written: bool = False) -> Outcome:
        async def started() -> None:
            # Nothing waits for the disk: what is written later, its end above all, gets there later.
            if self._started_at is None:
                self._started_at, self._begun = utc_now(), Moment.now()
                running = self._reports.running(
                    course.program_id,
                    started_at=self._started_at,
                    image=course.image,
                    container_id=course.container_id,
                    was_warm=self._was_warm,
                )
                writing = self._journal.started(self._claimed, self._started_at, running)
                self._start_written = asyncio.create_task(writing, name=f"start of {self.name}")
                await asyncio.sleep(0)  # by now it is asked for
                self._log.info(
                    "execution started", action="execution_started", program_id=course.program_id, warm=self._was_warm
                )

        async def wrote(piece: Piece) -> None:
            await self._journal.wrote(self._claimed, piece, self._reports.wrote(course.program_id, piece))

        steps = StepByStep(
            self._engine,
            self._container,
            course,
            Witness(
                may_begin=self._until_sure,
                course=lambda changed: self._journal.starting(self._claimed, changed),
                started=started,
                wrote=wrote,
            ),
            before=self._before,
            after=self._after,
            published={StreamName.STDOUT: self._claimed.stdout, StreamName.STDERR: self._claimed.stderr},
            order=order,
            is_written=is_written,
        )
        try:
            return await steps.run()
        finally:
            await self._until_start_is_written()

    async def _until_start_is_written(self) -> None:
        writing, self._start_written = self._start_written, None
        if writing is not None:
            try:
                await writing
            finally:
                await cancel(writing)

    async def _until_sure(self) -> None:
        """Wait until it is sure that nobody has given this runner up: before each start of the container."""
        leave_off = self._container.detach if self._has_begun else self._do_not_start
        try:
            await unless(leave_off, self._around.standing.sure(self._claimed.epoch))
        except Interrupted:
            if self._has_begun:
                raise Detached from None
            if self.is_cancelled:
                raise Cancelled from None
            raise
        # Before the start, which looks whether somebody asked for its end.
        await self._until_told_of_ends()
        self._has_begun = True

    async def _get_ready(self) -> _Ready:
        catalogue, spec = await self._plan()
        self._around.demand.used(spec.program_id, time.monotonic())
        existed, self._container.may_exist = self._container.may_exist, True
        try:
            prepared = await self._engine.take_warm(spec)
        except EngineUnavailable:
            return _Ready(catalogue, spec, None)  # it is asked again, and more patiently
        self._container.may_exist = existed or prepared is not None
        if prepared is None:
            return _Ready(catalogue, spec, None)
        course = self._course(catalogue, spec, prepared)
        course = course.begin(course.first_step, start_before=NEVER_STARTED, written_before=self._container.written)
        await self.is_claimed.wait()
        self._is_ordered = True
        await self._journal.starting(self._claimed, course)
        return _Ready(catalogue, spec, course)

    async def _made_ready(self) -> _Ready:
        try:
            return await self._ready_soon()
        finally:
            await self.leave_off()

    def _ready_soon(self) -> asyncio.Task[_Ready]:
        if self._getting_ready is None:
            self._getting_ready = asyncio.create_task(self._get_ready(), name=f"get {self.name} ready")
        return self._getting_ready

    async def _until_told_of_ends(self) -> None:
        """Wait until this has heard of an end that came before it was in hand."""
        if self._ends_told is not None:
            await self._ends_told

    async def _plan(self) -> tuple[Catalogue, Spec]:
        catalogue, program = await find_program(self._claimed.command.program_id, self._around.catalogues)
        self._program_id = program.id
        if not program.enabled:
            raise CannotRun(Reason.DISABLED, f"Program '{self._claimed.command.program_id}' is disabled")
        self._log.info(parameters_line(program.parameters, self._claimed.command.parameters), action="program_parameters")
        spec = await make_spec(self._claimed, catalogue, program, self._around)
        self._container.stop_grace_seconds = spec.stop_grace_seconds
        for note in spec.notes:
            self._before.say(HUB, note)
            self._log.info(note, action="execution_note")
        self._log.info("Docker command: %s", masked_command_line(spec.command_line), action="docker_command")
        return catalogue, spec

    async def _prepare(self, spec: Spec) -> Prepared:
        try:
            await self._until_told_of_ends()
            self._container.may_exist = True
            prepared = await unless(self._do_not_start, self._prepare_patiently(spec))
        except (Interrupted, CannotRun):
            if self.is_cancelled:
                raise Cancelled from None
            raise
        self._raise_if_not_to_be_started()
        return prepared

    def _raise_if_not_to_be_started(self) -> None:
        if self.is_cancelled:
            raise Cancelled
        if self._do_not_start.is_set():
            raise Interrupted

    async def _prepare_patiently(self, spec: Spec) -> Prepared:
        listener = Telling(self._journal, self._reports, spec.program_id, self._before)
        give_up_at = time.monotonic() + self._around.patience_seconds
        backoff = Backoff()
        while True:
            try:
                return await self._engine.prepare(spec, listener)
            except EngineUnavailable as error:
                if time.monotonic() > give_up_at:
                    raise CannotRun(error.reason, f"Docker is not available: {error}") from error
                await backoff.pause()

    def _now_for_an_end(self) -> datetime:
        """What time it is, as far as it agrees with how long it took: somebody may have set the clock meanwhile."""
        took_at_most = None if self._begun is None else self._begun.seconds_ago()
        if self._started_at is None or took_at_most is None:
            return max(utc_now(), self._started_at or utc_now())
        took = (utc_now() - self._started_at).total_seconds()
        return self._started_at + timedelta(seconds=took if 0 <= took <= took_at_most else took_at_most)

    async def _end(self, outcome: Outcome) -> None:
        await self._until_told_of_ends()
        ending, retry = outcome.ending, self._retry()
        reports = [self._reports.wrote(self._program_id, piece) for piece in outcome.pieces]
        ended = self._reports.ended(
            self._program_id,
            ending,
            started_at=self._started_at,
            ended_at=self._now_for_an_end(),
            stdout=outcome.stdout,
            stderr=outcome.stderr,
            lines_before=self._before.text(),
            lines_after=self._after.text(),
            retry=retry,
            draw=random.random(),
        )
        reports.append(ended)
        await self._journal.ended(self._claimed, *reports)
        again = retry.follows(self._claimed.attempt, ending.status, ending.reason)
        self._log.info(
            "attempt ended" if again else "execution ended",
            action="attempt_ended" if again else "execution_ended",
            program_id=self._program_id,
            status=ending.status.value,
            reason=ending.reason and ending.reason.value,
            exit_code=ending.exit_code,
        )

    async def _why_not(self, error: CannotRun) -> Ending:
        """Why it was not run: what nobody wants any more has not failed."""
        await self._until_told_of_ends()
        return cancelled(self._container.cancellation) if self.is_cancelled and not self._has_begun else never_ran(error)

    def _retry(self) -> Retry:
        """How it is tried again by what config.yaml says now, and not at all where somebody has asked for its end."""
        if self.is_cancelled:
            return NEVER
        return self._around.catalogues.current.retry_of(self._claimed.command.program_id)


def _outcome(ending: Ending) -> Outcome:
    return Outcome(ending=ending, pieces=[], stdout=StreamSummary(), stderr=StreamSummary())
