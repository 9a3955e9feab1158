"""From the journal to the bus: reports are told until the bus has taken them, those of one execution in their order."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable, Fenced
from bus.messages import Message
from bus.ports import Streams
from runner.journal import Journal
from runner.outgoing import Waiting
from schemas.cloud_events import CONTENT_TYPE
from schemas.failpoints import failpoint

log = structlog.get_logger()

#: Reports that are being told at the same time; it bounds memory, and how long a new one waits behind others.
_AT_ONCE = 64


async def _always(_epoch: str) -> None:
    """Nobody is in the way."""


class Outbox:
    """Tells what waits in the journal, and goes on telling while the bus is away. Only what is on disk is ever told.

    Each execution has a lane of its own, so that one that writes a lot does not hold up the others. What was told is crossed
    out in the journal later on, and nothing waits for that.
    """

    def __init__(self, journal: Journal, streams: Streams, *, may_tell: Callable[[str], Awaitable[None]] = _always) -> None:
        """``may_tell`` returns once what was done under an epoch may be told, and raises :class:`bus.errors.Fenced` where it no
        longer may.
        """
        self._may_tell = may_tell
        self._journal = journal
        self._streams = streams
        #: By execution: what is being told, with the epoch that it is of; the first one is under way.
        self._lanes: dict[str, deque[tuple[str, Waiting]]] = {}
        self._under_way = 0
        self._has_room = asyncio.Event()
        #: Of what the bus has taken: done once the journal does not hold it any more.
        self._told: deque[asyncio.Future[int]] = deque()
        self._is_told = asyncio.Event()
        self._progress = asyncio.Event()

    async def run(self) -> None:
        """Tell, for ever. A report may be told twice, under the same message id."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._cross_out(), name="cross out what was told")
            last = 0
            while True:
                await self._journal.reports_waiting.wait()
                # Cleared before looking: what comes while we look sets it again.
                self._journal.reports_waiting.clear()
                while reports := await self._next(last):
                    for epoch, waiting in reports:
                        self._put(epoch, waiting, group)
                        last = waiting.number

    async def flushed(self, limit_seconds: float) -> bool:
        """Wait until nothing waits; false where that did not happen within the limit."""
        try:
            async with asyncio.timeout(limit_seconds):
                while self._journal.outbox_bytes:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True

    async def _next(self, last: int) -> list[tuple[str, Waiting]]:
        """The next reports, each with its epoch; none where there are none."""
        while self._under_way >= _AT_ONCE:
            self._has_room.clear()
            await self._has_room.wait()
        while True:
            epoch = self._journal.epoch
            reports = await self._journal.next_reports(_AT_ONCE - self._under_way, last)
            # Where it was renewed in between, nobody knows of which epoch they are.
            if epoch == self._journal.epoch:
                return [(epoch, waiting) for waiting in reports]

    def _put(self, epoch: str, waiting: Waiting, group: asyncio.TaskGroup) -> None:
        name = waiting.report.execution_id
        self._under_way += 1
        if name in self._lanes:
            self._lanes[name].append((epoch, waiting))
        else:
            self._lanes[name] = deque([(epoch, waiting)])
            group.create_task(self._tell_in_order(name), name=f"tell {name}")

    async def _tell_in_order(self, name: str) -> None:
        lane = self._lanes[name]
        backoff = Backoff()
        while lane:
            epoch, waiting = lane[0]
            try:
                await self._tell(epoch, waiting)
            except Fenced:
                pass  # it is dropped with its epoch
            except BusUnavailable as error:
                log.warning("report delayed", action="report_delayed", execution_id=name, error=str(error))
                await backoff.pause()
                continue  # the later ones must wait too
            else:
                backoff.reset()
                self._told.append(self._journal.told([waiting]))
                self._is_told.set()
            lane.popleft()
            self._under_way -= 1
            self._has_room.set()
        del self._lanes[name]

    async def _tell(self, epoch: str, waiting: Waiting) -> None:
        report = waiting.report
        message = Message(id=report.message_id, body=report.body, content_type=CONTENT_TYPE)
        await self._may_tell(epoch)
        await self._streams.append(report.stream, report.key, message)
        failpoint("outbox.appended")

    async def _cross_out(self) -> None:
        while True:
            await self._is_told.wait()
            self._is_told.clear()
            while self._told:
                await self._told.popleft()
                self._progress.set()
