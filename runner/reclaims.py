"""Claims that are made again when the record of decisions has lost something."""

from collections.abc import Awaitable, Callable

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable, Fenced
from bus.messages import Claim, Decision
from bus.ports import Decisions
from runner.claimed import Claimed, ClaimState
from runner.journal import Journal

log = structlog.get_logger()


class Reclaims:
    """Says again what this runner has in hand, so that what is delivered once more is not started by somebody else.

    The record is not forced to the disk of RabbitMQ's host: its power loss takes the end of it away.
    """

    def __init__(self, decisions: Decisions, journal: Journal, decide: Callable[[Claimed], Awaitable[Decision]]) -> None:
        """``decide`` proposes a claim, the same as the first time, and returns the decision, however long that takes."""
        self._decisions = decisions
        self._journal = journal
        self._decide = decide

    async def run(self) -> None:
        """Claim again after each gap, for ever."""
        backoff = Backoff()
        while True:
            try:
                async for _ in self._decisions.gaps():
                    backoff.reset()
                    await self._claim_again()
            except BusUnavailable as error:
                log.warning("gaps are heard of later", action="gaps_delayed", error=str(error))
            await backoff.pause()

    async def _claim_again(self) -> None:
        unfinished = [claimed for claimed in await self._journal.claims() if claimed.state is not ClaimState.ENDED]
        log.warning("the record of decisions has a gap", action="claimed_again", executions=len(unfinished))
        for claimed in unfinished:
            try:
                decision = await self._decide(claimed)
            except Fenced:
                return  # its end clears all of them away
            if not isinstance(decision, Claim) or decision.nonce != claimed.nonce:
                # It goes on all the same: what it has begun is begun, and of two endings the first one counts.
                log.error("somebody else has it too now", action="claimed_twice", execution_id=claimed.execution_id)
