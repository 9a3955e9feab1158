"""The container of one attempt, in the hands of its execution: watched to a step's end, stopped and removed for sure."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from structlog.typing import FilteringBoundLogger

from runner.endings import Interruption
from runner.engine import Engine, Exit, Frame
from runner.errors import ContainerGone, Detached, EngineUnavailable
from runner.waiting import cancel, surely
from schemas.output import StreamName

#: Seconds that the output of a step that has ended may take to arrive.
_DRAIN_SECONDS = 30.0

#: Reads the output of a step to its end.
Consume = Callable[[AsyncGenerator[Frame, None]], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class StepEnd:
    """How a step ended."""

    #: ``None`` where the container vanished.
    exit: Exit | None
    #: Why the runner stopped it; ``None`` where it ended by itself.
    interruption: Interruption | None = None


class Container:
    """What an execution does with its container, whether the engine is there or comes back later."""

    def __init__(self, engine: Engine, name: str, log: FilteringBoundLogger, *, may_exist: bool = False) -> None:
        self._engine = engine
        self._log = log
        self.name = name
        #: Bytes of each stream that were read so far, over all steps.
        self.written = dict.fromkeys(StreamName, 0)
        #: Set when the runner stops: who watches lets go, and what runs, runs on for the next life to take it up.
        self.detach = asyncio.Event()
        #: Set when somebody asked for the execution's end: what runs is stopped, and what does not run yet never does …
        self.cancel = asyncio.Event()
        #: … and who and why, for people.
        self.cancellation: str | None = None
        #: Whether what runs can be taken up by the next life; what can't is stopped when the runner stops.
        self.adoptable = True
        #: Whether there may be one to stop and to remove.
        self.may_exist = may_exist
        #: Seconds that stopping its program may take, SIGKILL excluded.
        self.stop_grace_seconds = 0.0

    async def watch(
        self,
        consume: Consume,
        *,
        limit_seconds: float,
        may_be_cancelled: bool,
        on_interruption: Callable[[Interruption], Awaitable[None]],
    ) -> StepEnd:
        """See the step that was started to its end; at its limit it is stopped, once ``on_interruption`` has written that down.

        The same where :attr:`cancel` is set, of a step that may be cancelled. Whatever ended by itself before was not stopped.
        When this returns nothing runs in the container, and ``consume`` has read all that was written.

        Raises:
            Detached: :attr:`detach` was set; nobody was stopped.
        """
        consuming = asyncio.create_task(consume(self._frames()), name="read output")
        waiting = asyncio.create_task(self._engine.wait(self.name), name="wait for the program")
        exit_: Exit | None = None
        try:
            interruption = await self._until_end(waiting, consuming, limit_seconds, may_be_cancelled=may_be_cancelled)
            if interruption is not None:
                await on_interruption(interruption)
                self._log.info("stopping program", action="execution_stopping", why=interruption.value)
                await self.stop_surely()
            with contextlib.suppress(ContainerGone):
                exit_ = await waiting
            await self._drain(consuming)
        finally:
            await cancel(consuming, waiting)
        return StepEnd(exit_, interruption)

    async def _until_end(
        self, waiting: asyncio.Task[Exit], consuming: asyncio.Task[None], limit_seconds: float, *, may_be_cancelled: bool
    ) -> Interruption | None:
        """Wait for the program's end; what is to interrupt it, where something came first."""
        deadline = time.monotonic() + limit_seconds
        detaching = asyncio.create_task(self.detach.wait(), name="wait for a stop")
        cancelling = asyncio.create_task(self.cancel.wait(), name="wait for a cancel")
        watched: set[asyncio.Task[object]] = {waiting, consuming, detaching}
        if may_be_cancelled:
            watched.add(cancelling)
        try:
            while True:
                done, _ = await asyncio.wait(
                    watched, timeout=max(0.0, deadline - time.monotonic()), return_when=asyncio.FIRST_COMPLETED
                )
                if waiting in done:
                    return None
                if cancelling in done:
                    return Interruption.CANCELLED
                if detaching in done and self.adoptable:
                    raise Detached
                if detaching in done:
                    return Interruption.RUNNER_STOPPED
                if consuming in done:
                    consuming.result()  # a reader that failed would leave the program blocked on its output
                    watched.discard(consuming)
                elif not done:
                    return Interruption.TIME_LIMIT
        finally:
            await cancel(detaching, cancelling)

    async def _frames(self) -> AsyncGenerator[Frame, None]:
        async with contextlib.aclosing(self._engine.output(self.name)) as frames:
            async for frame in frames:
                self.written[frame.stream] += len(frame.content)
                yield frame

    async def _drain(self, consuming: asyncio.Task[None]) -> None:
        """Wait until everything that the ended program wrote is in."""
        done, _ = await asyncio.wait({consuming}, timeout=_DRAIN_SECONDS)
        if done:
            consuming.result()
        else:
            self._log.warning("output did not end in time, its end may be missing", action="output_cut")

    async def stop_surely(self) -> None:
        """Stop the program, trying until the engine says that it does not run: until then its slot stays taken."""

        def delayed(error: EngineUnavailable) -> None:
            self._log.warning("program not stopped yet", action="execution_not_stopped", error=str(error))

        if self.may_exist:
            await surely(lambda: self._engine.stop(self.name, self.stop_grace_seconds), delayed)

    async def destroy_once(self) -> None:
        """Remove it if the engine answers; the next start of the runner clears away what is left."""
        if self.may_exist:
            try:
                await self._engine.destroy(self.name)
            except EngineUnavailable as error:
                self._log.warning("container not removed", action="container_not_removed", error=str(error))

    async def destroy_surely(self) -> None:
        """Remove it, trying until the engine has done it."""

        def delayed(error: EngineUnavailable) -> None:
            self._log.warning("container not removed yet", action="container_not_removed", error=str(error))

        if self.may_exist:
            await surely(lambda: self._engine.destroy(self.name), delayed)
