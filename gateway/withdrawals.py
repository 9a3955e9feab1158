"""Executions whose publish was not confirmed: their callers were told so, and they shall not run any more."""

import asyncio
from collections import deque

import structlog

from bus.backoff import Backoff
from bus.errors import BusError
from bus.messages import Decision, End
from bus.ports import Decisions
from schemas.failpoints import failpoint

log = structlog.get_logger()

#: Executions that may wait for being withdrawn; above it further ones may run, as their callers were told.
MOST_WAITING = 1_000
#: Seconds after which one is not withdrawn any more.
LIMIT_SECONDS = 300.0
#: Not a cancel: what a runner has begun by then runs on.
REASON = "unconfirmed"
#: Who is said to have ended them.
REQUESTED_BY = "hub"


class Withdrawals:
    """Decides that they end before they begin, unless a runner was faster: then they run, and everybody sees it.

    What waits is in memory alone: a gateway that ends leaves it undone, as its callers were told may happen.
    """

    def __init__(self, decisions: Decisions, *, most_waiting: int = MOST_WAITING, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._decisions = decisions
        self._most_waiting = most_waiting
        self._limit_seconds = limit_seconds
        #: Execution ids, each with the time of the event loop at which to give up.
        self._waiting: deque[tuple[str, float]] = deque()
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, execution_id: str) -> None:
        """Withdraw this one soon. Never waits."""
        if len(self._waiting) >= self._most_waiting:
            log.warning("too many executions to withdraw: one may run", action="withdrawal_skipped", execution_id=execution_id)
            return
        self._waiting.append((execution_id, asyncio.get_running_loop().time() + self._limit_seconds))
        self._news.set()

    async def end(self, execution_id: str, *, requested_by: str = REQUESTED_BY) -> Decision:
        """Decide that this execution never begins, unless it has begun; what was decided.

        Raises:
            BusError: it is not decided, as far as is known here.
        """
        return await self._decisions.decide(End(execution_id=execution_id, reason=REASON, requested_by=requested_by))

    async def run(self) -> None:
        """Withdraw what comes, for ever, the oldest first."""
        backoff = Backoff()
        while True:
            while self._waiting:
                execution_id, give_up_at = self._waiting[0]
                if await self._try(execution_id, give_up_at):
                    self._waiting.popleft()
                    backoff.reset()
                else:
                    # The bus is away for all of them.
                    await backoff.pause()
            self._news.clear()
            await self._news.wait()

    async def _try(self, execution_id: str, give_up_at: float) -> bool:
        """Whether nothing is left to do for this one."""
        try:
            async with asyncio.timeout_at(give_up_at):
                withdrawn = isinstance(await self.end(execution_id), End)
                failpoint("gateway.withdrawn")
        except TimeoutError:
            log.warning("an unconfirmed execution may run", action="withdrawal_given_up", execution_id=execution_id)
            return True
        except BusError as error:
            log.info("withdrawing again soon", action="withdrawal_delayed", execution_id=execution_id, error=str(error))
            return asyncio.get_running_loop().time() >= give_up_at
        except Exception:
            # One of them must not keep the others from being withdrawn.
            log.exception("an unconfirmed execution may run", action="withdrawal_failed", execution_id=execution_id)
            return True
        log.info(
            "unconfirmed execution withdrawn" if withdrawn else "unconfirmed execution runs",
            action="execution_withdrawn" if withdrawn else "withdrawal_late",
            execution_id=execution_id,
        )
        return True
