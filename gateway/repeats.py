"""Requests with an ``Idempotency-Key``: whether this one was made before, and what became of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from weakref import WeakValueDictionary

from bus.errors import BusError
from bus.messages import Claim
from gateway import problems
from gateway.errors import Refused
from gateway.keyed_ids import KEPT, IdempotencyKeys, KeyedIds
from gateway.overlay import Overlay
from gateway.ports import View
from gateway.withdrawals import Withdrawals
from schemas.executions import Remembered
from schemas.status import Status


class Repeats:
    """Knows earlier requests by their keys, from the overlay and the view."""

    def __init__(
        self,
        *,
        keys: IdempotencyKeys,
        overlay: Overlay,
        view: View,
        withdrawals: Withdrawals,
        clock: Callable[[], datetime],
    ) -> None:
        self._keys = keys
        self._overlay = overlay
        self._view = view
        self._withdrawals = withdrawals
        self._clock = clock
        #: Gone as soon as nobody holds or awaits them.
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, caller: str, key: str, deadline: float) -> AsyncIterator[KeyedIds]:
        """What the key may name, while no other request of this gateway with the same key is being dealt with.

        Raises:
            Refused: the one before it was not done by the deadline (a time of the event loop).
        """
        turn = self._turns.setdefault((caller, key), asyncio.Lock())
        try:
            async with asyncio.timeout_at(deadline):
                await turn.acquire()
        except TimeoutError as error:
            raise Refused(problems.outcome_unknown(self._keys.ids(caller, key, self._clock()).new)) from error
        try:
            yield self._keys.ids(caller, key, self._clock())
        finally:
            turn.release()

    async def find(self, ids: KeyedIds, deadline: float) -> Remembered | None:
        """The execution that the key names already; ``None`` where ``ids.new`` may be accepted.

        Raises:
            Refused: that can't be found out now.
        """
        in_doubt = ids.doubtful
        for execution_id in ids.possible:
            seen = await self._remembered(execution_id)
            if seen is None:
                continue
            if execution_id == in_doubt:
                in_doubt = None
            # An id is never used twice, so the one for new requests counts whatever the clocks say.
            if execution_id == ids.new or seen.accepted_at is None or seen.accepted_at > self._clock() - KEPT:
                return seen
        return None if in_doubt is None else await self._settle(in_doubt, deadline)

    async def _remembered(self, execution_id: str) -> Remembered | None:
        # In this order: what leaves the overlay is in the view by then. The view knows better where both know something.
        execution = self._overlay.find(execution_id)
        seen = await self._view.remembered(execution_id)
        if seen is not None or execution is None:
            return seen
        return Remembered(
            execution_id=execution_id,
            status=execution.status,
            digest=execution.digest,
            accepted_at=execution.accepted_at,
        )

    async def _settle(self, execution_id: str, deadline: float) -> Remembered | None:
        """Make sure that nobody runs what the key named until a moment ago, unless it runs: then the key still names it."""
        try:
            async with asyncio.timeout_at(deadline):
                decision = await self._withdrawals.end(execution_id, requested_by="hub (superseded)")
        except (BusError, TimeoutError) as error:
            raise Refused(problems.bus_unavailable()) from error
        if isinstance(decision, Claim):
            return Remembered(execution_id=execution_id, status=Status.QUEUED, digest=decision.digest)
        return None
