"""The announcer: publishes what the fold accepted to every subscriber, and answers who asked for a reply.

One is active in the fleet, the holder of the lock. It folds nothing: it reads the view's transitions after the checkpoint.
"""

import asyncio
from dataclasses import replace
from functools import partial

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable
from bus.ports import Announcements, Holder
from gateway.errors import ViewUnavailable
from hub.duties import Duty, together
from hub.transitions import StoredTransition, Transitions

_log = structlog.get_logger()

#: Transitions that are announced before the checkpoint advances; a successor repeats at most as many.
_BATCH = 200
#: Places in the log behind the checkpoint whose transitions are kept.
KEPT_BEHIND = 100_000
#: Places in the log between two trimmings.
_TRIM_EVERY = 1_000
#: Queues that replies may go to: anything else could be somebody's work queue.
_REPLY_QUEUES = ("reply.", "amq.")


async def _no_duty() -> None:
    await asyncio.Event().wait()


class Announcer:
    """Holds the lock where it can get it, and announces in the order of the log. An event may come twice, with the same id."""

    def __init__(
        self,
        announcements: Announcements,
        transitions: Transitions,
        *,
        kept_behind: int = KEPT_BEHIND,
        duty: Duty = _no_duty,
    ) -> None:
        """``duty`` is what the holder of the lock does besides, until it is cancelled."""
        self._duty = duty
        self._announcements = announcements
        self._transitions = transitions
        self._kept_behind = kept_behind
        self._trimmed_to = 0
        self._news = asyncio.Event()
        self._backoff = Backoff()
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong with the view right now, as far as announcing shows it; ``None`` where nothing is."""
        return self._problem

    def wake(self) -> None:
        """There are new transitions."""
        self._news.set()

    async def run(self) -> None:
        """Announce until cancelled. Bus and view may come and go; anything else ends it."""
        while True:
            try:
                async with self._announcements.hold() as holder:
                    _log.info("announcing", action="announcer_holds", position=holder.position)
                    await together(partial(self._announce_after, holder.position, holder), self._duty)()
            except (BusUnavailable, ViewUnavailable) as error:
                # What is wrong with the bus, the bus itself says in its state.
                self._problem = str(error) if isinstance(error, ViewUnavailable) else None
                _log.warning("announcing again soon", action="announcer_waits", error=str(error))
            await self._backoff.pause()

    async def _announce_after(self, position: int | None, holder: Holder) -> None:
        while True:
            # Cleared before it looks: what is stored meanwhile sets it again.
            self._news.clear()
            batch = await self._transitions.transitions_after(position, _BATCH)
            self._problem = None
            if not batch:
                await self._news.wait()
                continue
            for transition in batch:
                await _announce(holder, transition)
            position = batch[-1].offset
            await holder.advance(position)
            self._backoff.reset()
            await self._trim(position - self._kept_behind)

    async def _trim(self, before: int) -> None:
        if before >= self._trimmed_to + _TRIM_EVERY:
            await self._transitions.trim_transitions(before)
            self._trimmed_to = before


async def _announce(holder: Holder, transition: StoredTransition) -> None:
    message = transition.message
    # The word that belongs to one caller's question is no business of the other subscribers.
    await holder.announce(transition.key, replace(message, correlation_id=None))
    if transition.reply_to is not None and transition.reply_to.startswith(_REPLY_QUEUES):
        await holder.reply(transition.reply_to, message)
