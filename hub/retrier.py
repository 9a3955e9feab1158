"""The retrier: queues the next attempt of each execution whose last one ended with attempts left, once its pause is over.

The view says who waits for what, so nothing is lost with the process that waited. What is queued twice is claimed once.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable, UnknownPool
from bus.messages import StreamName
from bus.ports import Commands, Decisions, Streams
from gateway.errors import ViewUnavailable
from hub.attempts import message_of, next_attempt, not_repeatable
from schemas.catalogue import Catalogue
from schemas.executions import Execution, ToRetry
from schemas.failpoints import failpoint
from schemas.times import utc_now

_log = structlog.get_logger()

#: Executions that are looked at in one go, those that are due first. While more wait, the others' turn comes as these are
#: queued, which the view shows at once.
_AT_ONCE = 500
#: Seconds after which an attempt that the view does not show as queued is queued again.
_AGAIN_SECONDS = 10.0


class Waiting(Protocol):
    """Those of the view."""

    async def to_retry(self, limit: int) -> list[ToRetry]:
        """The executions whose next attempt was not queued yet, the one that is due first in front.

        Raises:
            ViewUnavailable: the view can't be read.
        """

    async def find(self, execution_id: str) -> Execution | None:
        """One execution.

        Raises:
            ViewUnavailable: the view can't be read.
        """


@dataclass(slots=True)
class _Timer:
    """When an attempt is to be queued next, by this machine's monotonic clock."""

    due_at: float


class Retrier:
    """To be run by the one process of the fleet that announces. Two at the same time do no harm."""

    def __init__(
        self,
        commands: Commands,
        decisions: Decisions,
        streams: Streams,
        waiting: Waiting,
        catalogue: Callable[[], Catalogue],
    ) -> None:
        self._commands = commands
        self._decisions = decisions
        self._streams = streams
        self._waiting = waiting
        self._catalogue = catalogue
        self._timers: dict[ToRetry, _Timer] = {}
        self._news = asyncio.Event()

    def wake(self) -> None:
        """The view may show another attempt that is to come."""
        self._news.set()

    async def run(self) -> None:
        """Queue what is due, until cancelled. Bus and view may come and go; anything else ends it."""
        self._timers.clear()
        backoff = Backoff()
        while True:
            # Cleared before it looks: what is shown meanwhile sets it again.
            self._news.clear()
            try:
                await self._look()
            except (BusUnavailable, ViewUnavailable) as error:
                _log.warning("attempts are queued later", action="retrier_waits", error=str(error))
                await backoff.pause()
                continue
            backoff.reset()
            await self._until_due()

    async def _look(self) -> None:
        waiting = await self._waiting.to_retry(_AT_ONCE)
        # What waits no more is forgotten, and what is new gets a timer.
        self._timers = {
            to_retry: self._timers.get(to_retry) or _Timer(time.monotonic() + _pause_seconds(to_retry)) for to_retry in waiting
        }
        for to_retry, timer in self._timers.items():
            if timer.due_at <= time.monotonic():
                await self._queue(to_retry)
                timer.due_at = time.monotonic() + _AGAIN_SECONDS

    async def _queue(self, to_retry: ToRetry) -> None:
        # Claimed already, or decided to end, which the ender sees to.
        if await self._decisions.decision_for(to_retry.execution_id, to_retry.attempt) is not None:
            return
        execution = await self._waiting.find(to_retry.execution_id)
        if execution is None or execution.attempt != to_retry.attempt or execution.retry_at is None:
            return
        message = next_attempt(execution)
        if message is None:
            event = not_repeatable(execution)
            await self._streams.append(StreamName.LOG, event.routing_key, message_of(event))
            return
        catalogue = self._catalogue()
        program = catalogue.find(execution.program_id)
        # One that is gone from config.yaml is a runner's to refuse.
        pool = catalogue.settings.pool if program is None else catalogue.pool_of(program)
        try:
            await self._commands.retry(pool, message)
            failpoint("retrier.queued")
        except UnknownPool as error:
            # Named a moment ago, and about to be declared: the others need not wait for that.
            _log.warning("an attempt is queued later", action="retrier_waits", error=str(error))
            return
        _log.info(
            "next attempt queued",
            action="attempt_queued",
            execution_id=execution.execution_id,
            attempt=execution.attempt,
            pool=pool,
        )

    async def _until_due(self) -> None:
        """Wait until an attempt is due, or the view shows something new."""
        due_at = min((timer.due_at for timer in self._timers.values()), default=None)
        try:
            async with asyncio.timeout(None if due_at is None else max(0.0, due_at - time.monotonic())):
                await self._news.wait()
        except TimeoutError:
            return


def _pause_seconds(to_retry: ToRetry) -> float:
    """Seconds until the attempt is due. Whatever the clocks of two hosts say, never more than the pause as it was meant."""
    left = (to_retry.due_at - utc_now()).total_seconds()
    meant = (to_retry.due_at - to_retry.since).total_seconds()
    return max(0.0, min(left, meant))
