"""The ender: writes the terminal event of each execution that was decided to end before any runner took it, or took it again.

The fold makes the ending, so the one thing that counts is that a record of it is in the log: it is written until the view shows
it. A repeat has the same id, and the fold takes the first.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable
from bus.messages import COMMAND_LOST, EXPIRED, End, StreamName
from bus.ports import Decisions, Streams
from gateway.errors import ViewUnavailable
from hub.attempts import message_of
from hub.fold import SOURCE
from schemas.events import Ended, ExecutionEvent
from schemas.executions import Execution
from schemas.failpoints import failpoint
from schemas.ids import routable_program_id
from schemas.reasons import Reason
from schemas.status import Status
from schemas.times import utc_now

_log = structlog.get_logger()

#: Seconds between two looks for an execution that the view does not show as ended: a tenth of how long it is waited for,
#: within these bounds. A cancel may come long before its command; the view is behind for a moment only.
_LOOK_SECONDS = (0.05, 5.0)
#: Seconds after which an event that the view does not show is written again.
_WRITE_AGAIN_SECONDS = 10.0
#: Ends that are waited for at the same time. Whoever cancels more ids that nobody has, pushes the oldest out; they are read
#: again at the next start.
MOST_WAITING = 10_000
#: Executions that are asked for at once.
_AT_ONCE = 500


#: What comes of an end, by its reason; of any other reason, a cancel.
_STATUSES = {EXPIRED: (Status.FAILED, Reason.EXPIRED), COMMAND_LOST: (Status.FAILED, Reason.COMMAND_LOST)}


class Executions(Protocol):
    """Those of the view."""

    async def find_all(self, execution_ids: Iterable[str]) -> list[Execution]:
        """Those of these that the view knows.

        Raises:
            ViewUnavailable: the view can't be read.
        """


@dataclass
class _Wanted:
    """An end whose terminal event the view does not show yet."""

    end: End
    since: float = field(default_factory=time.monotonic)
    look_at: float = 0.0
    write_at: float = 0.0
    #: Whether the view knew the execution when it was asked last; ``None`` before that.
    is_known: bool | None = None


class Ender:
    """To be run by the one process of the fleet that announces. Two at the same time do no harm."""

    def __init__(
        self, decisions: Decisions, streams: Streams, executions: Executions, *, most_waiting: int = MOST_WAITING
    ) -> None:
        self._decisions = decisions
        self._streams = streams
        self._executions = executions
        self._most_waiting = most_waiting
        self._wanted: dict[str, _Wanted] = {}
        self._news = asyncio.Event()
        self._looked = asyncio.Event()

    async def run(self) -> None:
        """Write what is wanted, until cancelled. Bus and view may come and go; anything else ends it."""
        self._wanted.clear()
        read: asyncio.Queue[End] = asyncio.Queue(maxsize=_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(read), name="ender: read ends")
            group.create_task(self._take_up(read), name="ender: take ends up")
            group.create_task(self._write(), name="ender: write endings")

    async def _read(self, read: asyncio.Queue[End]) -> None:
        backoff = Backoff()
        while True:
            try:
                async for end in self._decisions.ends():
                    backoff.reset()
                    await read.put(end)
            except BusUnavailable as error:
                _log.warning("ends are read later", action="ender_waits", error=str(error))
            await backoff.pause()

    async def _take_up(self, read: asyncio.Queue[End]) -> None:
        """Ask the view for what was read, many together: at a start those of days come, and what is new waits behind them."""
        backoff = Backoff()
        while True:
            ends = [await read.get()]
            while len(ends) < _AT_ONCE and not read.empty():
                ends.append(read.get_nowait())
            while True:
                try:
                    found = await self._executions.find_all([end.execution_id for end in ends])
                except ViewUnavailable as error:
                    _log.warning("ends are taken up later", action="ender_waits", error=str(error))
                    await backoff.pause()
                else:
                    backoff.reset()
                    break
            # Most have ended long ago, by a runner; what the view does not know may be on its way there.
            over = {execution.execution_id for execution in found if execution.status.is_terminal}
            for end in ends:
                if end.execution_id not in over:
                    await self._make_room()
                    self._wanted.setdefault(end.execution_id, _Wanted(end))
                    self._news.set()

    async def _make_room(self) -> None:
        """Of as many as may be, give up the oldest that the view does not know, or wait until one is done."""
        while len(self._wanted) >= self._most_waiting:
            self._looked.clear()
            unknown = next((name for name, wanted in self._wanted.items() if wanted.is_known is False), None)
            if unknown is not None:
                del self._wanted[unknown]
                _log.warning("too many cancels of unknown executions", action="ender_full", execution_id=unknown)
            else:
                await self._looked.wait()

    async def _write(self) -> None:
        backoff = Backoff()
        while True:
            self._news.clear()
            try:
                for execution_ids in _parts(self._due()):
                    await self._look(execution_ids)
            except (BusUnavailable, ViewUnavailable) as error:
                _log.warning("endings are written later", action="ender_waits", error=str(error))
                await backoff.pause()
                continue
            backoff.reset()
            await self._until_due()

    async def _look(self, execution_ids: list[str]) -> None:
        found = {execution.execution_id: execution for execution in await self._executions.find_all(execution_ids)}
        for execution_id in execution_ids:
            if (wanted := self._wanted.get(execution_id)) is not None:
                wanted.is_known = execution_id in found
        self._looked.set()
        for execution in found.values():
            await self._end(execution)

    def _due(self) -> list[str]:
        now = time.monotonic()
        due = [execution_id for execution_id, wanted in self._wanted.items() if wanted.look_at <= now]
        least, most = _LOOK_SECONDS
        for execution_id in due:
            wanted = self._wanted[execution_id]
            wanted.look_at = now + min(most, max(least, (now - wanted.since) / 10))
        return due

    async def _until_due(self) -> None:
        """Wait until it is time to look again, or there is a new end."""
        look_at = min((wanted.look_at for wanted in self._wanted.values()), default=None)
        try:
            async with asyncio.timeout(None if look_at is None else max(_LOOK_SECONDS[0], look_at - time.monotonic())):
                await self._news.wait()
        except TimeoutError:
            return

    async def _end(self, execution: Execution) -> None:
        wanted = self._wanted.get(execution.execution_id)
        if wanted is None:
            return
        if execution.status.is_terminal:
            del self._wanted[execution.execution_id]
            self._looked.set()
            return
        now = time.monotonic()
        if execution.status is not Status.QUEUED or now < wanted.write_at:
            return
        # Where a claim of the attempt came before the end, the claim's owner ends the execution, or this attempt of it.
        if not isinstance(await self._decisions.decision_for(execution.execution_id, execution.attempt), End):
            return
        event = terminal_event(execution, wanted.end)
        await self._streams.append(StreamName.LOG, event.routing_key, message_of(event))
        failpoint("ender.appended")
        wanted.write_at = now + _WRITE_AGAIN_SECONDS
        _log.info(
            "execution ended before any runner took it",
            action="execution_ended",
            execution_id=execution.execution_id,
            program_id=execution.program_id,
            status=event.data.status.value,
            reason=wanted.end.reason,
        )


def terminal_event(execution: Execution, end: End) -> ExecutionEvent:
    """The event that a queued execution has ended by this decision."""
    status, reason = _STATUSES.get(end.reason, (Status.CANCELLED, Reason.CANCELLED))
    fact = Ended(
        execution_id=execution.execution_id,
        program_id=routable_program_id(execution.program_id),
        attempt=execution.attempt,
        status=status,
        accepted_at=execution.accepted_at,
        submitted_by=execution.submitted_by,
        ended_at=utc_now(),
        reason=reason,
        category=reason.category,
        message=end.told if status is Status.CANCELLED else end.why,
    )
    return ExecutionEvent.of(fact, source=SOURCE)


def _parts(execution_ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(execution_ids), _AT_ONCE):
        yield execution_ids[start : start + _AT_ONCE]
