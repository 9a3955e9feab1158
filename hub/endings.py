"""Who waits for the end of an execution hears of it as the view shows it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from hub.view import View

#: Waits at the same time; above it nobody is kept waiting.
MAX_WAITS = 10_000
#: Seconds that a wait goes on after the ending for output that has not arrived.
OUTPUT_GRACE_SECONDS = 5.0


class Endings:
    """Waits for endings, woken by the projector."""

    def __init__(self, view: View, *, max_waits: int = MAX_WAITS, output_grace_seconds: float = OUTPUT_GRACE_SECONDS) -> None:
        self._view = view
        self._max_waits = max_waits
        self._output_grace_seconds = output_grace_seconds
        self._bells: dict[str, set[asyncio.Event]] = {}
        self._waits = 0

    async def wait(self, execution_id: str, timeout_seconds: float) -> bool:
        """Wait until the execution has ended and the view shows it; false where it has not within the time.

        Where the ending counts chunks of output that have not arrived, it waits for them too, for a few seconds more. With too
        many waits already it answers at once, from what the view shows now.
        """
        if self._waits >= self._max_waits:
            return await self._has_ended(execution_id)
        with self._bell(execution_id) as bell:
            if not await _until(bell, lambda: self._has_ended(execution_id), timeout_seconds):
                return False
            await _until(bell, lambda: self._view.is_output_complete(execution_id), self._output_grace_seconds)
            return True

    def watching(self, execution_id: str) -> AbstractContextManager[asyncio.Event]:
        """An event that is set, inside the context, whenever the view shows something new of the execution."""
        return self._bell(execution_id)

    def wake(self, execution_ids: Iterable[str]) -> None:
        """The view shows something new of these executions: a status, or output."""
        for execution_id in execution_ids:
            for bell in self._bells.get(execution_id, ()):
                bell.set()

    def wake_all(self) -> None:
        """The view may show something new of any execution."""
        self.wake(self._bells)

    async def _has_ended(self, execution_id: str) -> bool:
        execution = await self._view.find(execution_id)
        return execution is not None and execution.status.is_terminal

    @contextmanager
    def _bell(self, execution_id: str) -> Iterator[asyncio.Event]:
        bell = asyncio.Event()
        self._bells.setdefault(execution_id, set()).add(bell)
        self._waits += 1
        try:
            yield bell
        finally:
            self._waits -= 1
            bells = self._bells[execution_id]
            bells.discard(bell)
            if not bells:
                del self._bells[execution_id]


async def _until(bell: asyncio.Event, is_so: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    # Cleared before it is asked: what happens meanwhile rings again. Asked once even where there is no time to wait.
    bell.clear()
    if await is_so():
        return True
    try:
        async with asyncio.timeout(seconds):
            while True:
                await bell.wait()
                bell.clear()
                if await is_so():
                    return True
    except TimeoutError:
        return False
