"""Cancelling: from a request to a decision that everybody on the bus has."""

import asyncio

import structlog

from bus.errors import BusUnavailable
from bus.messages import CANCELLED, End
from bus.ports import Decisions
from gateway import problems
from gateway.errors import Refused
from schemas.failpoints import failpoint

log = structlog.get_logger()


class Cancels:
    """Asks for the end of executions."""

    def __init__(self, decisions: Decisions, *, limit_seconds: float) -> None:
        """``limit_seconds``: how long to wait for the bus to say that it is written down."""
        self._decisions = decisions
        self._limit_seconds = limit_seconds

    async def cancel(self, execution_id: str, *, requested_by: str, why: str | None) -> None:
        """Ask for an execution's end; when this returns it is written down. Asking again changes nothing.

        Raises:
            Refused: it is not known to be.
        """
        end = End(execution_id=execution_id, reason=CANCELLED, requested_by=requested_by, why=why)
        try:
            async with asyncio.timeout(self._limit_seconds):
                await self._decisions.decide(end)
                failpoint("gateway.cancelled")
        except TimeoutError as error:
            raise Refused(problems.unconfirmed()) from error
        except BusUnavailable as error:
            raise Refused(problems.unconfirmed() if error.outcome_unknown else problems.bus_unavailable()) from error
        log.info("cancel asked for", action="cancel_asked", execution_id=execution_id, requested_by=requested_by, why=why)
