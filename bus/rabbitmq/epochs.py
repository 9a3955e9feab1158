"""Epochs on RabbitMQ: hellos and fences in the order of the control stream, among the claims that they are about."""

from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

from bus.errors import Fenced
from bus.messages import Claim, Epoch, Fence, Hello
from bus.rabbitmq.control import Mark
from bus.rabbitmq.tail import ControlTail


class RabbitEpochs:
    """Keeps the promises of :class:`bus.ports.Epochs`."""

    def __init__(self, tail: ControlTail) -> None:
        self._tail = tail
        #: That of this process, once it has said hello.
        self._epoch: str | None = None
        #: How often it missed records and has drawn the conclusion.
        self._missed = 0

    async def hello(self, hello: Hello) -> None:
        """Say it, and read all that was said before."""
        await self._tail.say_hello(hello)
        self._epoch = hello.epoch
        await self._give_up_if_unsure(hello.epoch)
        if await self.is_fenced(hello.epoch):
            raise Fenced(hello.epoch)

    async def displaced(self) -> None:
        """Wait for another process's later hello."""
        await self._tail.displaced()

    async def catch_up(self) -> None:
        """Read up to a mark of our own."""
        await self._tail.tell_and_read(Mark(nonce=str(uuid4())))
        if self._epoch is not None:
            await self._give_up_if_unsure(self._epoch)

    async def fence(self, epoch: str) -> None:
        """Write the fence, unless there is one, and read it back."""
        await self._tail.tell(Fence(epoch=epoch), lambda claims: claims.is_fenced(epoch) or None)

    async def is_fenced(self, epoch: str) -> bool:
        """Whether a fence was read."""
        return await self._tail.ask(lambda claims: claims.is_fenced(epoch))

    def fences(self) -> AsyncIterator[str]:
        """Every fence that is known, then those that are read."""
        return self._tail.rows(lambda claims: claims.fences_after, 0, made_by=(Fence,))

    async def with_claims(self) -> Sequence[Epoch]:
        """Every epoch that has claimed something, as far as it was read."""
        return await self._tail.ask(lambda claims: claims.with_claims())

    async def claims_of(self, epoch: str, after: int, limit: int) -> Sequence[tuple[int, Claim]]:
        """What an epoch has claimed, as far as it was read."""
        return await self._tail.ask(lambda claims: claims.claims_of(epoch, after, limit))

    async def _give_up_if_unsure(self, epoch: str) -> None:
        """Who was away, or frozen, for longer than the stream goes back may have been fenced, and that is forgotten."""
        missed = self._tail.missed
        if missed > self._missed:
            await self.fence(epoch)
            self._missed = missed
