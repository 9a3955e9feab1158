"""Decisions on RabbitMQ: the order of the control stream, which every process reads back for itself."""

from collections.abc import AsyncIterator

from bus.messages import Claim, Decision, End, Proposal
from bus.rabbitmq.tail import ControlTail


class RabbitDecisions:
    """Keeps the promises of :class:`bus.ports.Decisions`."""

    def __init__(self, tail: ControlTail) -> None:
        self._tail = tail

    @property
    def malformed(self) -> int:
        """How many records could not be understood since the start."""
        return self._tail.malformed

    async def decide(self, proposal: Proposal) -> Decision:
        """Propose, and wait until the order shows what came first."""
        # A claim is proposed by whoever was handed the command: it hardly ever finds a decision there, and is harmless.
        return await self._tail.tell(proposal, lambda claims: claims.answer(proposal), is_new=isinstance(proposal, Claim))

    async def decision_for(self, execution_id: str, attempt: int) -> Decision | None:
        """The decision as far as it was read."""
        return await self._tail.ask(lambda claims: claims.find(execution_id, attempt))

    def watch(self) -> AsyncIterator[Decision]:
        """Every decision from now on. After a gap in the stream, those it still holds come again."""
        return self._tail.rows(lambda claims: claims.after, self._tail.sequence, made_by=(Claim, End))

    async def end_of(self, execution_id: str) -> End | None:
        """The first end as far as it was read."""
        return await self._tail.ask(lambda claims: claims.end_of(execution_id))

    def gaps(self) -> AsyncIterator[None]:
        """Each gap in the control stream, from now on."""
        return self._tail.gaps()

    def ends(self) -> AsyncIterator[End]:
        """Every end that is known, then those that are read."""
        return self._tail.rows(lambda claims: claims.ends_after, 0, made_by=(End,))
