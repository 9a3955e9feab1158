"""The bus on RabbitMQ."""

import asyncio
from pathlib import Path

import structlog
from aio_pika.abc import AbstractConnection

from bus.errors import BusClosed
from bus.messages import BusState
from bus.rabbitmq.announcements import RabbitAnnouncements
from bus.rabbitmq.commands import RabbitCommands
from bus.rabbitmq.connection import CLOSE_LIMIT_SECONDS, Link
from bus.rabbitmq.dead_letters import RabbitDeadLetters
from bus.rabbitmq.decisions import RabbitDecisions
from bus.rabbitmq.declaration import declare_all
from bus.rabbitmq.epochs import RabbitEpochs
from bus.rabbitmq.leases import RabbitLeases
from bus.rabbitmq.nodes import Nodes
from bus.rabbitmq.publisher import Publisher
from bus.rabbitmq.questions import RabbitQuestions
from bus.rabbitmq.streams import RabbitStreams
from bus.rabbitmq.tail import ControlTail
from bus.upkeep import FORGET_FIRST_SECONDS, PRUNE_SECONDS, every

log = structlog.get_logger()

#: File in the state directory with what the control stream has decided so far; it may be deleted at any time.
CLAIMS_FILE = "claims.db"


class RabbitBus:
    """Keeps the promises of :class:`bus.ports.Bus`.

    Two connections, one to publish and one to consume, because RabbitMQ stops reading from publishers when it is short of
    memory or disk, and acknowledgements must go on then. Whoever holds the announcer's lock has a third one.
    """

    def __init__(self, url: str, *, state_dir: Path, name: str, forget_first_seconds: float = FORGET_FIRST_SECONDS) -> None:
        """``url`` may name several nodes; ``state_dir`` must exist; ``name`` is how the broker shows the connections. Claims
        are forgotten from ``forget_first_seconds`` after the start on.

        Raises:
            BadBusUrl: the address can't be used.
        """
        nodes = Nodes(url)
        self._pools: frozenset[str] = frozenset()
        self._opening = asyncio.Lock()
        self._closing = asyncio.Event()
        self._publishing = Link(nodes, name=f"{name} publisher", prepare=self._declare)
        self._consuming = Link(nodes, name=f"{name} consumer")
        self._publisher = Publisher(self._publishing, self._move)
        self._commands = RabbitCommands(self._consuming, self._publisher)
        self._tail = ControlTail(self._consuming, self._publisher, state_dir / CLAIMS_FILE)
        self._decisions = RabbitDecisions(self._tail)
        self._epochs = RabbitEpochs(self._tail)
        self._streams = RabbitStreams(self._consuming, self._publisher)
        self._leases = RabbitLeases(self._consuming, self._publisher)
        self._questions = RabbitQuestions(self._consuming, self._publisher)
        self._dead_letters = RabbitDeadLetters(self._consuming, self._publisher)
        self._announcements = RabbitAnnouncements(nodes, name, self._consuming, self._closing)
        self._forget_first_seconds = forget_first_seconds
        self._forgetting: asyncio.Task[None] | None = None

    @property
    def commands(self) -> RabbitCommands:
        """Commands on their way to runners."""
        return self._commands

    @property
    def decisions(self) -> RabbitDecisions:
        """Who runs what."""
        return self._decisions

    @property
    def epochs(self) -> RabbitEpochs:
        """Which journals may claim."""
        return self._epochs

    @property
    def streams(self) -> RabbitStreams:
        """The log, and output."""
        return self._streams

    @property
    def announcements(self) -> RabbitAnnouncements:
        """To and from subscribers."""
        return self._announcements

    @property
    def leases(self) -> RabbitLeases:
        """Which runners are there."""
        return self._leases

    @property
    def questions(self) -> RabbitQuestions:
        """To and from runners."""
        return self._questions

    @property
    def dead_letters(self) -> RabbitDeadLetters:
        """Commands that nobody will run."""
        return self._dead_letters

    @property
    def state(self) -> BusState:
        """How the bus is now."""
        lost = self._publishing.problem or self._consuming.problem
        return BusState(connected=lost is None, problem=lost or self._publisher.problem or self._tail.problem)

    async def open(self, pools: frozenset[str]) -> None:
        """Connect and declare."""
        async with self._opening:
            if self._closing.is_set():
                raise BusClosed("the bus is closed")
            new = pools - self._pools
            # From now on they are declared with every connection that is made anew.
            self._pools |= pools
            try:
                if not self._publishing.is_open:
                    await self._publishing.open()
                elif new:
                    await self._publishing.prepare_again()
            except BaseException:
                self._pools -= new
                raise
            await self._consuming.open()
            await self._tail.open()
            if self._forgetting is None:
                forgetting = every(PRUNE_SECONDS, self._tail.forget, first_seconds=self._forget_first_seconds)
                self._forgetting = asyncio.create_task(forgetting, name="bus: forget old claims")

    async def close(self) -> None:
        """Stop consuming, and disconnect."""
        self._closing.set()
        async with self._opening:
            if self._forgetting is not None:
                self._forgetting.cancel()
                await asyncio.wait({self._forgetting})
            try:
                async with asyncio.timeout(CLOSE_LIMIT_SECONDS):
                    await self._commands.close()
            except TimeoutError:
                log.info("commands are returned by the broker itself", action="return_failed")
            # All at once: of a server that says nothing each would be waited for.
            await asyncio.gather(self._tail.close(), self._publishing.close(), self._consuming.close())
            await self._publisher.close()

    def _move(self, why: str) -> None:
        """Both connections go to another node: one that confirms nothing has no news to read either."""
        self._publishing.move(why)
        self._consuming.move(why)

    async def _declare(self, connection: AbstractConnection) -> None:
        await declare_all(connection, self._pools)
