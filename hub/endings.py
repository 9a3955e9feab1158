"""Who waits for the end of an execution hears of it as the view shows it."""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from hub.view import View

#: Waits at the same time; above it nobody is kept waiting.
MAX_WAITS = 10_000
#: Seconds that a wait goes on after the ending for output that has not arrived.
OUTPUT_GRACE_SECONDS = 5.0


class _Bell(asyncio.Event):
    """Set when there is news."""

    #: Whether the execution is known to have ended, with all of its output that was kept: nobody need look.
    is_complete = False


class Endings:
    """Waits for endings, woken by the projector."""

    def __init__(self, view: View, *, max_waits: int = MAX_WAITS, output_grace_seconds: float = OUTPUT_GRACE_SECONDS) -> None:
        self._view = view
        self._max_waits = max_waits
        self._output_grace_seconds = output_grace_seconds
        #: Of those who want to hear of everything, and of those who wait for the end alone.
        self._bells: dict[str, set[_Bell]] = {}
        self._end_bells: dict[str, set[_Bell]] = {}
        self._waits = 0

    def are_awaited(self, execution_id: str, *, by_its_end: bool = True) -> bool:
        """Whether somebody waits for news of this execution; those who want its end alone count for news of that."""
        return execution_id in self._bells or (by_its_end and execution_id in self._end_bells)

    async def wait(self, execution_id: str, timeout_seconds: float) -> bool:
        """Wait until the execution has ended and the view shows it; false where it has not within the time.

        Where the ending counts chunks of output that have not arrived, it waits for them too, for a few seconds more. With too
        many waits already it answers at once, from what the view shows now.
        """
        if self._waits >= self._max_waits:
            return await self._view.has_ended(execution_id) is not None
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_seconds
        has_ended = False
        with self._bell(self._end_bells, execution_id) as bell:
            while True:
                # Cleared before it is asked: what happens meanwhile rings again. Asked once even without time to wait.
                bell.clear()
                complete = await self._view.has_ended(execution_id)
                if complete:
                    return True
                if complete is not None and not has_ended:
                    has_ended, until = True, loop.time() + self._output_grace_seconds
                try:
                    async with asyncio.timeout_at(until):
                        await bell.wait()
                except TimeoutError:
                    return has_ended
                if bell.is_complete:
                    return True

    def watching(self, execution_id: str) -> AbstractContextManager[asyncio.Event]:
        """An event that is set, inside the context, whenever the view shows something new of the execution."""
        return self._bell(self._bells, execution_id)

    def wake(
        self, execution_ids: Iterable[str], *, ended: Collection[str] | None = None, complete: Collection[str] = ()
    ) -> None:
        """The view shows something new of these executions: a status, or output. ``ended`` are those that have ended by it, and
        ``complete`` those of which all output that was kept came with that.
        """
        for execution_id in execution_ids:
            _ring(self._bells, execution_id)
            if ended is None or execution_id in ended:
                _ring(self._end_bells, execution_id, is_complete=execution_id in complete)

    def wake_all(self) -> None:
        """The view may show something new of any execution."""
        self.wake({*self._bells, *self._end_bells})

    @contextmanager
    def _bell(self, bells: dict[str, set[_Bell]], execution_id: str) -> Iterator[_Bell]:
        bell = _Bell()
        bells.setdefault(execution_id, set()).add(bell)
        self._waits += 1
        try:
            yield bell
        finally:
            self._waits -= 1
            bells[execution_id].discard(bell)
            if not bells[execution_id]:
                del bells[execution_id]


def _ring(bells: dict[str, set[_Bell]], execution_id: str, *, is_complete: bool = False) -> None:
    for bell in bells.get(execution_id, ()):
        bell.is_complete = bell.is_complete or is_complete
        bell.set()
