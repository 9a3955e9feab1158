"""The bus of one machine: one SQLite file, used by one process."""

import asyncio
from pathlib import Path

from bus import topology
from bus.embedded.announcements import EmbeddedAnnouncements
from bus.embedded.commands import EmbeddedCommands
from bus.embedded.dead_letters import EmbeddedDeadLetters
from bus.embedded.decisions import EmbeddedDecisions
from bus.embedded.epochs import EmbeddedEpochs
from bus.embedded.leases import EmbeddedLeases
from bus.embedded.questions import EmbeddedQuestions
from bus.embedded.store import Store
from bus.embedded.streams import EmbeddedStreams
from bus.embedded.tide import Tide
from bus.messages import BusState, StreamName
from bus.upkeep import FORGET_FIRST_SECONDS, PRUNE_SECONDS, every

#: File in the state directory that is the bus.
BUS_FILE = "bus.db"
#: Seconds between two looks for commands that have waited for too long.
EXPIRE_SECONDS = 60.0


class EmbeddedBus:
    """Keeps the promises of :class:`bus.ports.Bus` without a server. What was promised survives ``kill -9`` and power loss."""

    def __init__(
        self,
        *,
        state_dir: Path,
        command_ttl_seconds: float = topology.COMMAND_TTL_SECONDS,
        expire_seconds: float = EXPIRE_SECONDS,
        forget_first_seconds: float = FORGET_FIRST_SECONDS,
    ) -> None:
        """``state_dir`` must exist. What waits for ``command_ttl_seconds`` is a dead letter, up to ``expire_seconds`` late.
        Claims are forgotten from ``forget_first_seconds`` after the start on.
        """
        self._forget_first_seconds = forget_first_seconds
        self._expire_seconds = expire_seconds
        self._store = Store(state_dir / BUS_FILE)
        tides = {stream: Tide() for stream in StreamName}
        self._tides = tides
        self._dead_letters = EmbeddedDeadLetters(self._store)
        self._commands = EmbeddedCommands(
            self._store, tides[StreamName.LOG], self._dead_letters, ttl_seconds=command_ttl_seconds
        )
        self._decisions = EmbeddedDecisions(self._store)
        self._epochs = EmbeddedEpochs(self._store)
        self._streams = EmbeddedStreams(self._store, tides)
        self._announcements = EmbeddedAnnouncements(self._store)
        self._leases = EmbeddedLeases()
        self._questions = EmbeddedQuestions()
        self._opening = asyncio.Lock()
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def commands(self) -> EmbeddedCommands:
        """Commands on their way to runners."""
        return self._commands

    @property
    def decisions(self) -> EmbeddedDecisions:
        """Who runs what."""
        return self._decisions

    @property
    def epochs(self) -> EmbeddedEpochs:
        """Which journals may claim."""
        return self._epochs

    @property
    def streams(self) -> EmbeddedStreams:
        """The log, and output."""
        return self._streams

    @property
    def announcements(self) -> EmbeddedAnnouncements:
        """To and from subscribers."""
        return self._announcements

    @property
    def leases(self) -> EmbeddedLeases:
        """Which runners are there."""
        return self._leases

    @property
    def questions(self) -> EmbeddedQuestions:
        """To and from runners."""
        return self._questions

    @property
    def dead_letters(self) -> EmbeddedDeadLetters:
        """Commands that nobody will run."""
        return self._dead_letters

    @property
    def state(self) -> BusState:
        """How the bus is now."""
        return BusState(connected=self._store.is_open, problem=self._store.problem)

    async def open(self, pools: frozenset[str]) -> None:
        """Open the file, and find what waits in it.

        Raises:
            BusInUse: another process has it open.
            BusUnavailable: it can't be opened now.
        """
        async with self._opening:
            first = not self._store.is_open
            await self._store.open()
            if first:
                await self._decisions.open()
                await self._announcements.open()
                await self._dead_letters.open()
                self._keepers = [
                    asyncio.create_task(every(PRUNE_SECONDS, self._streams.prune), name="bus: remove old records"),
                    asyncio.create_task(every(self._expire_seconds, self._commands.expire), name="bus: expire commands"),
                    asyncio.create_task(
                        every(PRUNE_SECONDS, self._decisions.forget, first_seconds=self._forget_first_seconds),
                        name="bus: forget old claims",
                    ),
                ]
            await self._commands.add_pools(pools)

    async def close(self) -> None:
        """Commit what was asked for, and let go of the file."""
        async with self._opening:
            for keeper in self._keepers:
                keeper.cancel()
            if self._keepers:
                await asyncio.wait(self._keepers)
                self._keepers = []
            self._commands.close()
            self._decisions.close()
            self._epochs.close()
            self._announcements.close()
            self._leases.close()
            self._questions.close()
            self._dead_letters.close()
            for tide in self._tides.values():
                tide.close()
            await self._store.close()
