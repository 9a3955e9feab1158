"""Looking executions up: in the view, then among those just accepted, then with some patience for what others accepted."""

import asyncio
from datetime import datetime

from gateway.overlay import Overlay
from gateway.ports import View
from schemas.executions import Execution, Page, Wanted
from schemas.output import Output

#: Seconds in which an execution that another gateway accepted shows up here.
PATIENCE_SECONDS = 0.5

#: The place above all that the view shows; it is also the largest integer that SQLite knows.
TOP = 2**63 - 1

_FIRST_PAUSE_SECONDS = 0.01


class Lookup:
    """Answers for executions."""

    def __init__(self, view: View, overlay: Overlay, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._view = view
        self._overlay = overlay
        self._patience_seconds = patience_seconds

    async def find(self, execution_id: str) -> tuple[Execution, Output] | None:
        """One execution with its output; ``None`` where nobody has heard of it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_seconds
        pause = _FIRST_PAUSE_SECONDS
        while (found := await self._find_now(execution_id)) is None:
            if (left := deadline - loop.time()) <= 0:
                return None
            await asyncio.sleep(min(pause, left))
            pause *= 2
        return found

    async def earlier_output(self, execution_id: str, attempt: int) -> Output:
        """The output of an attempt that another one followed."""
        return await self._view.output(execution_id, attempt)

    async def page(self, limit: int, wanted: Wanted, before: int | None) -> Page:
        """The newest executions that are wanted, the newest first, with their output.

        What the view does not show yet is on top of the first page, and on no later one.
        """
        page = await self._view.page(limit, wanted, before)
        if before is not None or not (waiting := self._waiting(limit, wanted, page)):
            return page
        room = limit - len(waiting)
        if room == 0:
            return Page(waiting, TOP if page.rows else None)
        # A shorter one, so that the next page begins where this one ends. Meanwhile the view may have caught up.
        page = await self._view.page(room, wanted, None)
        known = _ids(page)
        return Page([row for row in waiting if row[0].execution_id not in known] + page.rows, page.next)

    def _waiting(self, limit: int, wanted: Wanted, shown: Page) -> list[tuple[Execution, Output]]:
        known = _ids(shown)
        # The view may have more than it gave: what it shows further down must not come up again from the overlay.
        oldest = shown.rows[-1][0].accepted_at if len(shown.rows) == limit else None
        return [
            (execution, Output())
            for execution in self._overlay.newest(limit)
            if execution.execution_id not in known and wanted.matches(execution) and _is_after(execution, oldest)
        ]

    async def _find_now(self, execution_id: str) -> tuple[Execution, Output] | None:
        found = await self._view.record(execution_id)
        if found is None:
            execution = self._overlay.find(execution_id)
            return None if execution is None else (execution, Output())
        self._overlay.drop(execution_id)
        return found


def _ids(page: Page) -> set[str]:
    return {execution.execution_id for execution, _ in page.rows}


def _is_after(execution: Execution, moment: datetime | None) -> bool:
    return moment is None or execution.accepted_at is None or execution.accepted_at >= moment
