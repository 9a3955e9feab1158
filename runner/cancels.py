"""Word of ends on its way to the executions in hand."""

from collections.abc import Callable, Iterable

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable
from bus.ports import Decisions
from runner.execution import Execution

log = structlog.get_logger()


class Cancels:
    """Tells executions of their ends. Each says itself what an end means to it."""

    def __init__(self, decisions: Decisions, in_hand: Callable[[], Iterable[Execution]]) -> None:
        self._decisions = decisions
        self._in_hand = in_hand

    async def run(self) -> None:
        """Tell, for ever. What comes in hand after its end was told asks for itself, with :meth:`tell`."""
        backoff = Backoff()
        while True:
            try:
                async for end in self._decisions.ends():
                    backoff.reset()
                    for life in self._in_hand():
                        if life.execution_id == end.execution_id:
                            life.cancel(end)
            except BusUnavailable as error:
                log.warning("cancels are heard of later", action="cancels_delayed", error=str(error))
            await backoff.pause()

    async def tell(self, life: Execution) -> None:
        """Tell one of an end that came before it was in hand. Where the bus can't say now, :meth:`run` will."""
        try:
            end = await self._decisions.end_of(life.execution_id)
        except BusUnavailable as error:
            log.warning("cancels are heard of later", action="cancels_delayed", error=str(error))
            return
        if end is not None:
            life.cancel(end)
