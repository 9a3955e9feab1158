"""Through the steps of one attempt in its container: from the first, or from where an earlier life of the runner stood."""

import itertools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from runner.container import Container, StepEnd
from runner.course import Begun, Course
from runner.endings import Ending, Interruption, exit_code_for_action, not_let_run, ran
from runner.engine import NEVER, NO_ORDER, Engine, Frame, Order
from runner.errors import Cancelled, CannotRun, Detached, EngineUnavailable
from runner.lines import HUB, Lines
from runner.output import Capture, Piece, pump
from runner.parting import Part, after
from runner.steps import Step
from runner.waiting import surely
from schemas.output import StreamName, StreamSummary
from schemas.reasons import Reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it went, with what is still to be published of the output."""

    ending: Ending
    pieces: list[Piece]
    stdout: StreamSummary
    stderr: StreamSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Who must know, before it goes on, what happens. Each returns once that is on disk."""

    #: A step is to be begun: returns once it may be, and raises where it may not.
    may_begin: Callable[[], Awaitable[None]]
    #: The course has changed: a step is about to be ordered, or to be stopped.
    course: Callable[[Course], Awaitable[None]]
    #: The first step was started.
    started: Callable[[], Awaitable[None]]
    #: The program wrote something.
    wrote: Callable[[Piece], Awaitable[None]]


class StepByStep:
    """One attempt on its way. To be run once."""

    def __init__(
        self,
        engine: Engine,
        container: Container,
        course: Course,
        witness: Witness,
        *,
        before: Lines,
        after: Lines,
        published: Mapping[StreamName, StreamSummary],
        order: Order = NO_ORDER,
        is_written: bool = False,
    ) -> None:
        """``before`` and ``after`` take what the actions print; ``published`` is what is already known of the output, and
        ``order`` who wrote what of it. Where it ``is_written``, the first step was written down by this very life, and is still
        to be ordered.
        """
        self._engine = engine
        self._container = container
        self._course = course
        self._witness = witness
        self._lines = {Step.BEFORE: before, Step.AFTER: after}
        self._order = order
        self._capture = Capture(course.output_limit, published)
        #: The step that an earlier life has begun, until it has been taken up here.
        self._taken_up = course.current if course.steps and not is_written else None
        self._is_written = is_written

    async def run(self) -> Outcome:
        """Go through to the end.

        Raises:
            CannotRun: the program was not started.
            Cancelled: neither was it, because somebody asked for its end.
            Detached: the runner stops; what runs, runs on.
        """
        if self._comes(Step.BEFORE):
            end = await self._take(Step.BEFORE)
            refusal = not_let_run(
                end.exit,
                interruption=end.interruption,
                limit_seconds=self._course.limit_seconds(Step.BEFORE),
                cancellation=self._course.current.cancellation,
            )
            if refusal is not None:
                return Outcome(ending=refusal, pieces=[], stdout=StreamSummary(), stderr=StreamSummary())
        ending = self._course.ending
        if ending is None:
            ending = await self._run_program()
        if Step.AFTER in self._course.actions:
            await self._act_after(ending)
        # Only now: where act_after was taken up, the program's output was read just before its own.
        pieces, stdout, stderr = self._capture.finish(lacks_some=self._engine.may_lack_output(self._container.name))
        return Outcome(ending=ending, pieces=pieces, stdout=stdout, stderr=stderr)

    def _comes(self, step: Step) -> bool:
        """Whether this step is still to be run, or to be taken up."""
        return step in self._course.actions and (self._taken_up is None or self._taken_up.step is step)

    async def _run_program(self) -> Ending:
        end = await self._take(Step.PROGRAM)
        return ran(
            end.exit,
            interruption=end.interruption,
            memory_bytes=self._course.memory_bytes,
            stderr=self._capture.short_content(StreamName.STDERR),
            cancellation=self._course.current.cancellation,
        )

    async def _act_after(self, ending: Ending) -> None:
        """Run ``act_after``. Whatever becomes of it, the execution's ending stands."""
        lines = self._lines[Step.AFTER]
        exit_code = exit_code_for_action(ending)
        if exit_code is None:
            lines.say(HUB, f"{Step.AFTER.value} was not run: the container is gone")
            return
        try:
            self._course = self._course.end_program(ending)
            end = await self._take(Step.AFTER, exit_code=exit_code)
        except (CannotRun, EngineUnavailable) as error:
            await self._container.stop_surely()
            lines.say(HUB, f"{Step.AFTER.value} could not be run: {error}")
            return
        if end.interruption is Interruption.TIME_LIMIT:
            lines.say(HUB, f"{Step.AFTER.value} was stopped after {self._course.action_timeout_seconds:g} s")
        elif end.exit is not None and end.exit.engine_restarted:
            lines.say(HUB, f"{Step.AFTER.value} was ended by a restart of Docker")
        elif end.exit is not None and end.exit.code != 0:
            lines.say(HUB, f"{Step.AFTER.value} exited with code {end.exit.code}")

    async def _take(self, step: Step, *, exit_code: int = 0) -> StepEnd:
        """Start a step, or take it up, and see it to its end."""
        taken_up, self._taken_up = self._taken_up, None
        if taken_up is None:
            begun = await self._begin(step)
            await self._start(step, exit_code)
        else:
            begun = taken_up
            await self._surely(lambda: self._engine.adopt(self._container.name, self._course.plan, self._order))
            if await self._is_still_to_be_started(begun):
                if not await self._surely(lambda: self._engine.knows_all_starts(self._container.name)):
                    raise CannotRun(
                        Reason.DOCKER_RESTARTED, "Docker was restarted as the program was to be started: it may have begun."
                    )
                await self._start(step, exit_code)
        await self._witness.started()
        if begun.interruption is not None:
            await self._container.stop_surely()
        parts = self._parts() if taken_up is not None else []

        async def consume(frames: AsyncGenerator[Frame, None]) -> None:
            rest = after(parts, frames) if parts else frames
            if step is Step.PROGRAM:
                await pump(rest, self._capture, self._witness.wrote)
            else:
                async for frame in rest:
                    self._take_line(step, frame)

        end = await self._container.watch(
            consume,
            limit_seconds=self._left(taken_up, step),
            # What has ended stays as it ended; tidying up after it has its own limit.
            may_be_cancelled=step is not Step.AFTER and begun.interruption is None,
            on_interruption=self._interrupted,
        )
        return StepEnd(end.exit, begun.interruption or end.interruption)

    def _left(self, taken_up: Begun | None, step: Step) -> float:
        """Seconds that are left to a step; none after a restart of the machine, as it does not run any more."""
        limit_seconds = self._course.limit_seconds(step)
        if taken_up is None:
            return limit_seconds
        ago = taken_up.at.seconds_ago()
        return 0.0 if ago is None else max(0.0, limit_seconds - ago)

    async def _begin(self, step: Step) -> Begun:
        """Write down that the step is about to be ordered: a runner that comes back never gives the order again."""
        if self._is_written:
            self._is_written = False
            await self._witness.may_begin()
            return self._course.current
        start_before = NEVER
        if self._course.steps:
            found = await self._surely(lambda: self._engine.find(self._container.name))
            start_before = NEVER if found is None else found.last_start
        await self._witness.may_begin()
        self._course = self._course.begin(step, start_before=start_before, written_before=self._container.written)
        await self._witness.course(self._course)
        return self._course.current

    async def _is_still_to_be_started(self, begun: Begun) -> bool:
        found = await self._surely(lambda: self._engine.find(self._container.name))
        return found is not None and found.last_start == begun.start_before

    async def _start(self, step: Step, exit_code: int) -> None:
        if self._container.cancel.is_set() and step is not Step.AFTER:
            raise Cancelled
        try:
            await self._engine.start(self._container.name, step, exit_code=exit_code)
        except EngineUnavailable as error:
            # It may run all the same, unwatched: make an end of it.
            await self._container.stop_surely()
            raise CannotRun(error.reason, f"Docker did not answer when the program was to be started: {error}") from error

    async def _surely(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What the engine answers, asked until it does: what may run must not be given up."""

        def delayed(_error: EngineUnavailable) -> None:
            if self._container.detach.is_set():
                raise Detached from None

        return await surely(ask, delayed)

    async def _interrupted(self, interruption: Interruption) -> None:
        said = self._container.cancellation if interruption is Interruption.CANCELLED else None
        self._course = self._course.interrupt(interruption, said)
        await self._witness.course(self._course)

    def _parts(self) -> list[Part]:
        """What the engine's record holds of the steps before this one."""
        return [
            Part(following.written_before, self._taker(begun.step))
            for begun, following in itertools.pairwise(self._course.steps)
        ]

    def _taker(self, step: Step) -> Callable[[Frame], None]:
        if step is Step.PROGRAM:
            return lambda frame: self._capture.add(frame, time.monotonic())
        return lambda frame: self._take_line(step, frame)

    def _take_line(self, step: Step, frame: Frame) -> None:
        self._lines[step].add(f"[{step.value}]", frame.content)
