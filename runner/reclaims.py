"""Claims that are made again: when the record of decisions has lost something, and before it forgets them with age."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable, Fenced
from bus.messages import Claim, Decision
from bus.ports import Decisions
from runner.claimed import Claimed, ClaimState
from runner.journal import Journal

log = structlog.get_logger()

#: Seconds from one time to the next, and after a start until the first. What runs for longer than the record goes back (on
#: RabbitMQ three days) would be unknown to who reads it from its beginning, and never end with its runner.
AGAIN_SECONDS, FIRST_SECONDS = 24 * 3600.0, 3600.0


class Reclaims:
    """Says again what this runner has in hand, so that what is delivered once more is not started by somebody else, and who
    looks for lost runners knows of it.

    The record is not forced to the disk of RabbitMQ's host: its power loss takes the end of it away.
    """

    def __init__(
        self,
        decisions: Decisions,
        journal: Journal,
        decide: Callable[[Claimed], Awaitable[Decision]],
        *,
        again_seconds: float = AGAIN_SECONDS,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        """``decide`` proposes a claim, the same as the first time, and returns the decision, however long that takes."""
        self._decisions = decisions
        self._journal = journal
        self._decide = decide
        self._again_seconds = again_seconds
        self._first_seconds = first_seconds

    async def run(self) -> None:
        """Claim again after each gap, and now and then, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._after_gaps(), name="claim again after gaps")
            group.create_task(self._now_and_then(), name="claim again now and then")

    async def _after_gaps(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async for _ in self._decisions.gaps():
                    backoff.reset()
                    unfinished = await self._unfinished()
                    log.warning("the record of decisions has a gap", action="claimed_again", executions=len(unfinished))
                    await self._claim_again(unfinished)
            except BusUnavailable as error:
                log.warning("gaps are heard of later", action="gaps_delayed", error=str(error))
            await backoff.pause()

    async def _now_and_then(self) -> None:
        await asyncio.sleep(self._first_seconds)
        while True:
            await self._claim_again(await self._unfinished())
            await asyncio.sleep(self._again_seconds)

    async def _unfinished(self) -> list[Claimed]:
        return [claimed for claimed in await self._journal.claims() if claimed.state is not ClaimState.ENDED]

    async def _claim_again(self, unfinished: list[Claimed]) -> None:
        for claimed in unfinished:
            try:
                decision = await self._decide(claimed)
            except Fenced:
                return  # its end clears all of them away
            if not isinstance(decision, Claim) or decision.nonce != claimed.nonce:
                # It goes on all the same: what it has begun is begun, and of two endings the first one counts.
                log.error("somebody else has it too now", action="claimed_twice", execution_id=claimed.execution_id)
