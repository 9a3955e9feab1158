"""The announcer: publishes what the fold accepted to every subscriber, and answers who asked for a reply.

One is active in the fleet, the holder of the lock. It folds nothing: it reads the view's transitions after the checkpoint.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import structlog

from bus.backoff import Backoff
from bus.errors import BusError, BusUnavailable
from bus.messages import Announcement, StreamName
from bus.ports import Announcements, Holder
from gateway.errors import ViewUnavailable
from hub.duties import Duty, together
from hub.transitions import StoredTransition, Transitions
from runner.waiting import finished
from schemas.failpoints import failpoint

_log = structlog.get_logger()

#: Transitions that are announced before the checkpoint advances; a successor repeats at most as many.
_BATCH = 200
#: Announcements that are under way at the same time.
_AT_ONCE = 64
#: Seconds after which it advances at the latest. Each time costs the bus more than an announcement does.
ADVANCE_SECONDS = 0.1
#: Seconds for that when it stops, and for what is being announced then.
_LAST_ADVANCE_SECONDS = _LAST_ANNOUNCE_SECONDS = 1.0
#: Places in the log behind the checkpoint whose transitions are kept.
KEPT_BEHIND = 100_000
#: Places in the log between two trimmings.
_TRIM_EVERY = 1_000
#: Seconds between two looks whether the view has noticed that the log is another one.
_LOOK_SECONDS = 1.0
#: Seconds for which a view may be behind the checkpoint before that is odd.
_BEHIND_SECONDS = 1.0
#: Queues that replies may go to: anything else could be somebody's work queue.
_REPLY_QUEUES = ("reply.", "amq.")


async def _no_duty() -> None:
    await asyncio.Event().wait()


async def _far_away() -> int:
    return sys.maxsize


class Announcer:
    """Holds the lock where it can get it, and announces in the order of the log. An event may come twice, with the same id."""

    def __init__(
        self,
        announcements: Announcements,
        transitions: Transitions,
        *,
        kept_behind: int = KEPT_BEHIND,
        advance_seconds: float = ADVANCE_SECONDS,
        duty: Duty = _no_duty,
        log_end: Callable[[], Awaitable[int | None]] | None = None,
    ) -> None:
        """``duty`` is what the holder of the lock does besides, until it is cancelled; ``log_end`` says where the log ends."""
        self._log_end = log_end or _far_away
        self._duty = duty
        self._announcements = announcements
        self._transitions = transitions
        self._kept_behind = kept_behind
        self._advance_seconds = advance_seconds
        self._trimmed_to = 0
        self._news = asyncio.Event()
        self._is_new_log = False
        self._backoff = Backoff()
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong with the view right now, as far as announcing shows it; ``None`` where nothing is."""
        return self._problem

    def wake(self) -> None:
        """There are new transitions."""
        self._news.set()

    def begin_anew(self) -> None:
        """The log is another one, whose places begin anew: the checkpoint means nothing there."""
        self._is_new_log = True
        self._trimmed_to = 0
        self._news.set()

    async def run(self) -> None:
        """Announce until cancelled. Bus and view may come and go; anything else ends it."""
        while True:
            try:
                async with self._announcements.hold() as holder:
                    _log.info("announcing", action="announcer_holds", position=holder.position)
                    await together(partial(self._announce_from, holder), self._duty)()
            except (BusUnavailable, ViewUnavailable) as error:
                # What is wrong with the bus, the bus itself says in its state.
                self._problem = str(error) if isinstance(error, ViewUnavailable) else None
                _log.warning("announcing again soon", action="announcer_waits", error=str(error))
            await self._backoff.pause()

    async def _announce_from(self, holder: Holder) -> None:
        # Of a new log this process may have heard long before it held the lock.
        position, self._is_new_log = holder.position, False
        if position is not None and await self._is_of_another_log(position):
            _log.error("the log is another one than was announced from", action="announcer_new_log", position=position)
            position = None
        await self._announce_after(position, holder)

    async def _is_of_another_log(self, position: int) -> bool:
        """Whether the log ends before the checkpoint; if so, once the view has let go of what it may have from there.

        Not asked where the view has come there: whether it is the same log, the projector has seen, or will.
        """
        give_up_at = time.monotonic() + _BEHIND_SECONDS
        while time.monotonic() < give_up_at:
            if (seen := await self._transitions.position(StreamName.LOG)) is not None and seen.offset >= position:
                return False
            await asyncio.sleep(_BEHIND_SECONDS / 10)
        end = await self._log_end()
        if end is not None and end >= position:
            return False
        while (seen := await self._transitions.position(StreamName.LOG)) is not None and (end is None or seen.offset > end):
            await asyncio.sleep(_LOOK_SECONDS)
            end = await self._log_end()
            if end is not None and end >= position:
                return False
        return True

    async def _announce_after(self, position: int | None, holder: Holder) -> None:
        #: Announced since the checkpoint advanced, and the monotonic time by which it is to do so.
        announced, due_at = 0, 0.0

        async def announce(wave: list[StoredTransition]) -> None:
            nonlocal position, announced, due_at
            await _announce(holder, wave)
            due_at = due_at if announced else time.monotonic() + self._advance_seconds
            position, announced = wave[-1].offset, announced + len(wave)

        try:
            while True:
                # Cleared before it looks: what is stored meanwhile sets it again.
                self._news.clear()
                if self._is_new_log:
                    position, self._is_new_log, announced = None, False, 0
                asked_for = _BATCH - announced
                batch = await self._transitions.transitions_after(position, asked_for)
                self._problem = None
                for wave in _waves(batch):
                    # Not broken off: of what is under way nobody would know whether it was announced.
                    await finished(announce(wave), _LAST_ANNOUNCE_SECONDS)
                if self._is_new_log:
                    continue
                if announced == 0 or position is None:
                    await self._news.wait()
                elif announced >= _BATCH or time.monotonic() >= due_at:
                    await holder.advance(position)
                    failpoint("announcer.advanced")
                    announced = 0
                    self._backoff.reset()
                    await self._trim(position - self._kept_behind)
                elif len(batch) < asked_for:
                    with suppress(TimeoutError):
                        async with asyncio.timeout_at(asyncio.get_running_loop().time() + due_at - time.monotonic()):
                            await self._news.wait()
        except asyncio.CancelledError:
            # Where it stops in order, the next one repeats nothing.
            if announced and position is not None and not self._is_new_log:
                await _advance_at_last(holder, position)
            raise

    async def _trim(self, before: int) -> None:
        if before >= self._trimmed_to + _TRIM_EVERY:
            await self._transitions.trim_transitions(before)
            self._trimmed_to = before


async def _advance_at_last(holder: Holder, position: int) -> None:
    with suppress(BusError, TimeoutError):
        async with asyncio.timeout(_LAST_ADVANCE_SECONDS):
            await holder.advance(position)


def _waves(batch: Iterable[StoredTransition]) -> Iterator[list[StoredTransition]]:
    """The transitions in their order, parted so that no two of a part are about one execution: those may go out together."""
    wave: dict[str, StoredTransition] = {}
    for transition in batch:
        # The id of an event begins with its execution's.
        name = (transition.message.id or "").partition(":")[0]
        if name in wave or len(wave) == _AT_ONCE:
            yield list(wave.values())
            wave = {}
        wave[name] = transition
    if wave:
        yield list(wave.values())


async def _announce(holder: Holder, wave: Sequence[StoredTransition]) -> None:
    # The word that belongs to one caller's question is no business of the other subscribers.
    await holder.announce_all([Announcement(key=each.key, message=replace(each.message, correlation_id=None)) for each in wave])
    failpoint("announcer.announced")
    replies = [
        holder.reply(each.reply_to, each.message)
        for each in wave
        if each.reply_to is not None and each.reply_to.startswith(_REPLY_QUEUES)
    ]
    for outcome in await asyncio.gather(*replies, return_exceptions=True):
        if outcome is not None:
            raise outcome
    if replies:
        failpoint("announcer.replied")
