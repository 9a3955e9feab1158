"""Sees to executions that no runner will ever take: their command expired, or is gone.

What is gone from its queue is published once more, for RabbitMQ may lose sight of what was on its way over a node that died.
The end of what is gone again is proposed.

Every accepted id ends. An end that was decided stands for ever, so a false one is worse than a late one: each is a proposal in
the order in which runners claim too, and whoever has claimed the execution has it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable, UnknownPool
from bus.messages import COMMAND_LOST, EXPIRED, DeadLetter, DeadReason, End, Message, Position, StreamName
from bus.ports import Commands, DeadLetters, Decisions, Leases, Streams
from bus.topology import COMMAND_TTL_SECONDS
from gateway.errors import ViewUnavailable
from hub.pool_calm import ABSENT_SECONDS, PoolCalm
from hub.republishing import same_command
from schemas.executions import Execution, Queued
from schemas.failpoints import failpoint
from schemas.ids import execution_id_of
from schemas.status import Status
from schemas.times import steady_now

_log = structlog.get_logger()

_T = TypeVar("_T")
_R = TypeVar("_R")

#: Seconds between two looks at queues, leases and dead letters.
LOOK_SECONDS = 5.0
#: Seconds for which a pool must be seen calm before what waits in it is lost.
CALM_SECONDS = 60.0
#: Seconds after which what waits and is not decided is lost, come what may: its command has expired by then.
LOST_SECONDS = COMMAND_TTL_SECONDS + 300.0
#: Seconds that a dead letter may be ahead of the view.
_BEHIND_SECONDS = 60.0
#: Seconds in which the view must come to where the log ended.
_CATCH_UP_SECONDS = 10.0
#: Seconds after a gap in the record of decisions, and after a start, in which runners claim again what they have.
GAP_SECONDS = 120.0
#: Executions, and dead letters, that are looked at together; and what is asked, proposed or published at the same time.
_PAGE = 500
_AT_ONCE = 50
#: Executions of a pool whose command was published again and not seen since; above it the others have to wait.
MOST_AGAIN = 10_000
#: Dead letters that may be ahead of the view at the same time; the others end when they are old.
_MOST_AHEAD = 10_000

EXPIRED_WORDS = f"No runner took it within {COMMAND_TTL_SECONDS // 3600} h, so it was not run."
OFTEN_WORDS = "It was handed out to runners too often without one taking it, so it was not run."
LOST_WORDS = "Its command is not in the queue any more, and no runner has taken it, so it was not run."


class View(Protocol):
    """What waits, by the view. Each may raise ViewUnavailable."""

    async def position(self, stream: StreamName) -> Position | None:
        """The last record of a stream that was folded in."""

    async def find_all(self, execution_ids: Iterable[str]) -> list[Execution]:
        """Those of these that the view knows."""

    async def queued_pools(self) -> list[str]:
        """The pools in which executions wait."""

    async def queued_before(
        self, pool: str | None, before: datetime, *, after: tuple[str, int] = ("", 0), limit: int
    ) -> list[Queued]:
        """What waits in a pool and came into the view before a time, the oldest first."""


class LostCommands:
    """To be run by the one process of the fleet that announces. Two at the same time do no harm.

    Nothing is remembered of what waits: it is asked of the view in pages, so a million of them takes no more memory than one.
    """

    def __init__(
        self,
        commands: Commands,
        decisions: Decisions,
        streams: Streams,
        leases: Leases,
        dead_letters: DeadLetters,
        view: View,
        *,
        clock: Callable[[], datetime] = steady_now,
        look_seconds: float = LOOK_SECONDS,
        calm_seconds: float = CALM_SECONDS,
        lost_seconds: float = LOST_SECONDS,
        absent_seconds: float = ABSENT_SECONDS,
        gap_seconds: float = GAP_SECONDS,
        most_again: int = MOST_AGAIN,
    ) -> None:
        """``clock`` is the one by which the view says when it saw something first; with ``most_again`` 0 nothing is published
        again.
        """
        self._streams = streams
        self._gap_seconds = gap_seconds
        #: Until when nothing is proposed, and whether the view is known to be current, by this look.
        self._waits_until = 0.0
        self._is_current = False
        self._commands = commands
        self._decisions = decisions
        self._leases = leases
        self._dead_letters = dead_letters
        self._view = view
        self._clock = clock
        self._look_seconds = look_seconds
        self._calm_seconds = calm_seconds
        self._lost_seconds = lost_seconds
        self._absent_seconds = absent_seconds
        self._most_again = most_again
        self._calms: dict[str, PoolCalm] = {}
        #: By pool, what was published again when it was calm last.
        self._again: dict[str, set[str]] = {}
        #: Place of the newest dead letter that was dealt with.
        self._place: int | None = None
        #: Ends for dead letters that the view does not know yet, each with when to give up.
        self._ahead: dict[str, tuple[End, float]] = {}

    async def run(self) -> None:
        """Propose what is to be proposed, until cancelled. Bus and view may come and go; anything else ends it."""
        self._calms, self._again, self._place, self._ahead = {}, {}, None, {}
        self._waits_until = time.monotonic() + self._gap_seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear_of_gaps(), name="lost commands: hear of gaps")
            group.create_task(self._look(), name="lost commands: look")

    async def _hear_of_gaps(self) -> None:
        """What is claimed may be forgotten after a gap, until its owner has claimed it again."""
        backoff = Backoff()
        while True:
            try:
                async for _ in self._decisions.gaps():
                    self._waits_until = time.monotonic() + self._gap_seconds
            except BusUnavailable as error:
                _log.warning("gaps are heard of later", action="gaps_delayed", error=str(error))
            await backoff.pause()

    async def _look(self) -> None:
        while True:
            self._is_current = False
            # Each for itself: where one of them can't be asked, the others can.
            for look in (self._read_letters, self._end_old, self._end_lost):
                try:
                    await look()
                except (BusUnavailable, ViewUnavailable) as error:
                    _log.warning("lost commands are looked for later", action="lost_commands_wait", error=str(error))
            await asyncio.sleep(self._look_seconds)

    # What the dead letters say

    async def _read_letters(self) -> None:
        pages = await self._new_letters()
        while pages:
            letters = pages.pop()
            ends = {end.execution_id: end for letter in letters if (end := _end_of(letter)) is not None}
            await self._end_if_queued(ends)
            self._place = max(letter.place for letter in letters)
        now = time.monotonic()
        self._ahead = {name: (end, give_up_at) for name, (end, give_up_at) in self._ahead.items() if now < give_up_at}
        await self._end_if_queued({name: end for name, (end, _) in self._ahead.items()})

    async def _new_letters(self) -> list[list[DeadLetter]]:
        """Those that came since the last look, in pages: the newest first."""
        pages: list[list[DeadLetter]] = []
        before: int | None = None
        while True:
            page = await self._dead_letters.page(_PAGE, before=before)
            if before is None and page.letters and self._place is not None and page.letters[0].place < self._place:
                self._place = None  # there is another record of them now, which begins anew
            fresh = [letter for letter in page.letters if self._place is None or letter.place > self._place]
            if fresh:
                pages.append(fresh)
            if len(fresh) < len(page.letters) or page.next is None:
                return pages
            before = page.next

    async def _end_if_queued(self, ends: dict[str, End]) -> None:
        for ids in _parts(list(ends)):
            known = await self._view.find_all(ids)
            if any(row.status is Status.QUEUED for row in known) and await self._caught_up():
                known = await self._view.find_all(ids)
            # Of a further attempt's execution it may be the first command, published twice.
            waiting = [row for row in known if row.status is Status.QUEUED and row.attempt == 1]
            await self._propose([(ends[row.execution_id], row.attempt) for row in waiting])
            for row in known:
                self._ahead.pop(row.execution_id, None)
            for execution_id in {*ids} - {row.execution_id for row in known}:
                if len(self._ahead) < _MOST_AHEAD:
                    self._ahead.setdefault(execution_id, (ends[execution_id], time.monotonic() + _BEHIND_SECONDS))

    # What the view says

    async def _end_old(self) -> None:
        """End what has waited for longer than its command can have lived."""
        for pool in (*await self._view.queued_pools(), None):
            await self._end_queued(pool, self._clock() - timedelta(seconds=self._lost_seconds))

    async def _end_lost(self) -> None:
        """End what waits in a pool that was calm for long enough."""
        leases = self._leases.live()
        queued = {*await self._view.queued_pools()}
        # Where nothing waits, its runners are kept in mind all the same.
        pools = queued | {lease.pool for lease in leases} | {pool for pool, calm in self._calms.items() if calm.heard}
        self._calms = {pool: self._calms.get(pool) or self._calm() for pool in pools}
        for pool, calm in self._calms.items():
            waiting = await self._waiting(pool) if pool in queued else None
            calm.look(time.monotonic(), waiting, [lease for lease in leases if lease.pool == pool])
            if calm.since is not None and time.monotonic() - calm.since >= self._calm_seconds:
                await self._end_or_publish_again(pool, calm)

    async def _end_or_publish_again(self, pool: str, calm: PoolCalm) -> None:
        before = self._again.get(pool, set())
        again: set[str] = set()
        # What came meanwhile may be on its way into the queue, and a further attempt into that of another pool.
        async for page in self._queued(pool, self._clock() - timedelta(seconds=self._calm_seconds)):
            first = [row for row in page if row.attempt == 1]
            gone_twice = [row for row in first if row.execution_id in before]
            gone_once = [row for row in first if row.execution_id not in before]
            if self._most_again == 0:
                gone_twice, gone_once = first, []
            await self._propose([(_lost(row), row.attempt) for row in gone_twice])
            again |= await self._publish_again(pool, gone_once, self._most_again - len(again))
        self._again[pool] = again
        if again:
            # They have the whole time before them once more.
            calm.disturb()

    async def _publish_again(self, pool: str, gone: Sequence[Queued], room: int) -> set[str]:
        """Publish commands once more, up to ``room``; those for which that was done.

        What can't be published ends, and what was decided meanwhile is left alone.
        """
        if not gone or room == 0 or time.monotonic() < self._waits_until:
            return set()
        decisions = await _all(gone, lambda row: self._decisions.decision_for(row.execution_id, row.attempt))
        undecided = [row for row, decision in zip(gone, decisions, strict=True) if decision is None][:room]
        waiting = {row.execution_id: row for row in await self._view.find_all([row.execution_id for row in undecided])}
        messages: list[Message] = []
        ends: list[tuple[End, int]] = []
        for row in undecided:
            known = waiting.get(row.execution_id)
            message = same_command(known) if known is not None and known.status is Status.QUEUED else None
            if message is None:
                ends.append((_lost(row), row.attempt))
            else:
                messages.append(message)
        await self._propose(ends)
        await _all(messages, lambda message: self._commands.accept(pool, message))
        again = {message.id for message in messages if message.id is not None}
        for execution_id in again:
            _log.warning("a command is gone from its queue: published again", action="command_again", execution_id=execution_id)
        return again

    def _calm(self) -> PoolCalm:
        return PoolCalm(longest_step_seconds=3 * self._look_seconds + 1, absent_seconds=self._absent_seconds)

    async def _waiting(self, pool: str) -> int | None:
        try:
            return await self._commands.waiting(pool)
        except (BusUnavailable, UnknownPool):
            return None

    async def _end_queued(self, pool: str | None, before: datetime) -> None:
        """End what waits in a pool since before that time, whatever attempt it is in."""
        async for page in self._queued(pool, before):
            await self._propose([(_lost(row), row.attempt) for row in page])

    async def _queued(self, pool: str | None, before: datetime) -> AsyncIterator[list[Queued]]:
        """What waits in a pool since before that time, in pages, by a view that is not behind the log."""
        after = ("", 0)
        if await self._view.queued_before(pool, before, limit=1):
            await self._caught_up()
        while page := await self._view.queued_before(pool, before, after=after, limit=_PAGE):
            after = page[-1].place
            yield page

    async def _caught_up(self) -> bool:
        """Wait until the view has come to where the log ends now, unless it has in this look: what it shows may be long over.

        Raises:
            ViewUnavailable: it did not come there.
        """
        if self._is_current:
            return False
        end = await self._streams.end(StreamName.LOG)
        give_up_at = time.monotonic() + _CATCH_UP_SECONDS
        while end is not None and ((seen := await self._view.position(StreamName.LOG)) is None or seen.offset < end):
            if time.monotonic() > give_up_at:
                raise ViewUnavailable("the view is behind the log")
            await asyncio.sleep(_CATCH_UP_SECONDS / 100)
        self._is_current = True
        return True

    async def _propose(self, ends: Sequence[tuple[End, int]]) -> None:
        for start in range(0, len(ends), _AT_ONCE):
            if time.monotonic() < self._waits_until:
                return
            await _all(ends[start : start + _AT_ONCE], lambda proposal: self._end(*proposal))

    async def _end(self, end: End, attempt: int) -> None:
        if await self._decisions.decision_for(end.execution_id, attempt) is not None:
            return
        decision = await self._decisions.decide(end)
        failpoint("lost_commands.proposed")
        _log.warning(
            "an execution ends that nobody will run" if decision == end else "an execution was taken after all",
            action="command_lost" if decision == end else "command_found",
            execution_id=end.execution_id,
            reason=end.reason,
        )


async def _all(items: Sequence[_T], do: Callable[[_T], Awaitable[_R]]) -> list[_R]:
    """Do it for each of them, some at a time; where one fails, once the others with it are done."""
    done: list[_R] = []
    for start in range(0, len(items), _AT_ONCE):
        for result in await asyncio.gather(*map(do, items[start : start + _AT_ONCE]), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            done.append(result)
    return done


def _lost(row: Queued) -> End:
    return End(execution_id=row.execution_id, reason=COMMAND_LOST, why=LOST_WORDS)


def _end_of(letter: DeadLetter) -> End | None:
    """The end of the execution that this dead letter would have become, unless it never was to become one."""
    if not letter.message_id:
        return None
    execution_id = execution_id_of(letter.message_id)
    match letter.reason:
        case DeadReason.EXPIRED:
            return End(execution_id=execution_id, reason=EXPIRED, why=EXPIRED_WORDS)
        case DeadReason.DELIVERY_LIMIT:
            return End(execution_id=execution_id, reason=COMMAND_LOST, why=OFTEN_WORDS)
    # What could not be understood is no execution, whoever reads it.
    return None


def _parts(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE)]
