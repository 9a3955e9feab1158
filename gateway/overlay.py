"""Read your writes: what this gateway accepted and its view does not show yet."""

import asyncio
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import structlog

from gateway.errors import OverlayFull
from gateway.ports import View
from schemas.executions import Execution

log = structlog.get_logger()

#: Executions that are kept; beyond that nothing is accepted until the view has caught up.
MAX_EXECUTIONS = 10_000

_SWEEP_EVERY_SECONDS = 0.5
#: Executions looked up in one sweep.
_SWEEP_AT_MOST = 500
#: The view shows executions in the order of the log, which is nearly ours: after so many misses the rest is not there either.
_SWEEP_MISSES = 16


class Overlay:
    """Executions by id, from their acceptance until the view shows them."""

    def __init__(self, *, max_executions: int = MAX_EXECUTIONS) -> None:
        self._max_executions = max_executions
        self._executions: dict[str, Execution] = {}
        #: Rooms kept for executions that are being published.
        self._held = 0

    def __len__(self) -> int:
        return len(self._executions)

    @contextmanager
    def room_for(self, execution: Execution) -> Iterator[None]:
        """Keep room while the execution is published inside the block; it is shown once that succeeded.

        Raises:
            OverlayFull: there is no room.
        """
        if len(self._executions) + self._held >= self._max_executions:
            raise OverlayFull(f"{self._max_executions} accepted executions are not in the view yet")
        self._held += 1
        try:
            yield
            self._executions[execution.execution_id] = execution
        finally:
            self._held -= 1

    def find(self, execution_id: str) -> Execution | None:
        """One execution, if it is kept here."""
        return self._executions.get(execution_id)

    def newest(self, limit: int) -> list[Execution]:
        """The newest executions that are kept here."""
        return heapq.nlargest(limit, self._executions.values(), key=_age)

    def drop(self, execution_id: str) -> None:
        """Forget an execution that the view shows."""
        self._executions.pop(execution_id, None)

    async def sweep(self, view: View) -> int:
        """Forget executions that the view shows, oldest first; how many they were."""
        dropped = misses = 0
        for execution_id in list(self._executions)[:_SWEEP_AT_MOST]:
            if await view.find(execution_id) is not None:
                self.drop(execution_id)
                dropped += 1
            elif execution := self._executions.pop(execution_id, None):
                # To the back of the line: a few that never come must not hide those behind them.
                self._executions[execution_id] = execution
                misses += 1
                if misses >= _SWEEP_MISSES:
                    break
        return dropped

    async def keep_swept(self, view: View) -> None:
        """Sweep for ever."""
        while True:
            dropped = 0
            try:
                dropped = await self.sweep(view)
            except Exception:
                # Nothing is lost: what is shown twice is told apart by its id, and the next sweep tries again.
                log.exception("the overlay could not be swept", action="overlay_sweep_failed")
            await asyncio.sleep(0 if dropped >= _SWEEP_AT_MOST - _SWEEP_MISSES else _SWEEP_EVERY_SECONDS)


def _age(execution: Execution) -> tuple[datetime, str]:
    # Not the id alone: one that a key names says nothing about its time.
    return execution.accepted_at or datetime.min.replace(tzinfo=UTC), execution.execution_id
