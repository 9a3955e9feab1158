"""From the journal to the bus: reports are told until the bus has taken them, those of one execution in their order."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

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

#: Reports that are read from the journal at once; it bounds memory, and how long a new one waits behind others.
_AT_ONCE = 64


async def _always(_epoch: str) -> None:
    """Nobody is in the way."""


class Outbox:
    """Tells what waits in the journal, and goes on telling while the bus is away. Only what is on disk is ever told."""

    def __init__(self, journal: Journal, streams: Streams, *, may_tell: Callable[[str], Awaitable[None]] = _always) -> None:
        """``may_tell`` returns once what was done under an epoch may be told, and raises :class:`bus.errors.Fenced` where it no
        longer may.
        """
        self._may_tell = may_tell
        self._journal = journal
        self._streams = streams
        self._backoff = Backoff()
        self._progress = asyncio.Event()

    async def run(self) -> None:
        """Tell, for ever. A report may be told twice, under the same message id."""
        while True:
            await self._journal.reports_waiting.wait()
            # Cleared before looking: what comes while we look sets it again.
            self._journal.reports_waiting.clear()
            # The epoch before the reports: where it is renewed in between they are taken for what they are not, and wait.
            while epoch_and_reports := await self._next():
                if not await self._tell(*epoch_and_reports):
                    await self._backoff.pause()

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

    async def _next(self) -> tuple[str, Sequence[Waiting]] | None:
        epoch = self._journal.epoch
        reports = await self._journal.next_reports(_AT_ONCE)
        return (epoch, reports) if reports else None

    async def _tell(self, epoch: str, reports: Sequence[Waiting]) -> bool:
        """Whether the bus has taken all of them."""
        lanes: defaultdict[str, list[Waiting]] = defaultdict(list)
        for waiting in reports:
            lanes[waiting.report.execution_id].append(waiting)
        # Side by side, so that an execution that writes a lot does not hold up the others.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._tell_in_order(epoch, lane), name=f"tell {name}") for name, lane in lanes.items()]
        told = [waiting for task in tasks for waiting in task.result()]
        if told:
            await self._journal.told(told)
            self._backoff.reset()
            self._progress.set()
        return len(told) == len(reports)

    async def _tell_in_order(self, epoch: str, lane: Sequence[Waiting]) -> list[Waiting]:
        told: list[Waiting] = []
        for waiting in lane:
            report = waiting.report
            message = Message(id=report.message_id, body=report.body, content_type=CONTENT_TYPE)
            try:
                await self._may_tell(epoch)
                await self._streams.append(report.stream, report.key, message)
                failpoint("outbox.appended")
            except Fenced:
                break  # what waits here is about to be dropped
            except BusUnavailable as error:
                log.warning("report delayed", action="report_delayed", execution_id=report.execution_id, error=str(error))
                break  # the later ones must wait too
            told.append(waiting)
        return told
