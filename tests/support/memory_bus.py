"""The bus in memory: the ports of commands, decisions and streams, with switches for what can go wrong.

The RabbitMQ and SQLite buses have a suite of their own; this one is for tests of services, which shall not know the difference.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from bus.embedded.leases import EmbeddedLeases
from bus.embedded.questions import EmbeddedQuestions
from bus.errors import BusUnavailable, Fenced, StreamGap
from bus.messages import (
    CANCELLED,
    Batch,
    BusState,
    Claim,
    Decision,
    End,
    Epoch,
    Hello,
    Lease,
    Message,
    Position,
    Proposal,
    Record,
    Source,
    StreamName,
)
from bus.ports import Announcements, Commands, DeadLetters, Decisions, Delivery, Epochs, Leases, Questions, Streams


@dataclass
class MemoryDelivery:
    """A command in somebody's hands. ``outcome`` is how it was settled."""

    message: Message
    pool: str
    commands: "MemoryCommands"
    source: Source = Source.COMMANDS
    outcome: str | None = None
    reason: str | None = None

    async def done(self) -> None:
        """Settle it for good."""
        self._settle("done")

    async def reject(self, reason: str) -> None:
        """Dead-letter it."""
        self.reason = reason
        self._settle("rejected")

    async def give_back(self) -> None:
        """Put it back in front."""
        self._settle("given back")
        self.commands.put_back(self.pool, self.message, self.source)

    def _settle(self, outcome: str) -> None:
        assert self.outcome is None, f"settled twice: {self.outcome}, then {outcome}"
        self.outcome = outcome


@dataclass
class MemoryCommands:
    """A queue for each pool."""

    bus: "MemoryBus"
    #: Everything that was ever handed out.
    deliveries: list[MemoryDelivery] = field(default_factory=list)
    #: The largest number of free slots that was asked with, and the smallest.
    free_slots: list[int] = field(default_factory=list)
    times_stopped: int = 0
    _queues: defaultdict[str, deque[tuple[Message, Source]]] = field(default_factory=lambda: defaultdict(deque))
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, pool: str, message: Message) -> None:
        """Queue it and log it."""
        self.bus.check()
        self._queues[pool].append((message, Source.COMMANDS))
        self.bus.streams_.record(StreamName.LOG, Source.COMMANDS, f"execute.{pool}", message)
        self._news.set()

    async def retry(self, pool: str, message: Message) -> None:
        """Queue it and log it as the holder's."""
        self.bus.check()
        self._queues[pool].append((message, Source.REPORTS))
        self.bus.streams_.record(StreamName.LOG, Source.REPORTS, f"retry.{pool}", message)
        self._news.set()

    def put_back(self, pool: str, message: Message, source: Source) -> None:
        """Queue it in front."""
        self._queues[pool].appendleft((message, source))
        self._news.set()

    async def take(self, pool: str, free_slots: int) -> Delivery:
        """The next one."""
        assert free_slots >= 1
        self.free_slots.append(free_slots)
        queue = self._queues[pool]
        while not queue or self.bus.away:
            self._news.clear()
            await self._news.wait()
        message, source = queue.popleft()
        delivery = MemoryDelivery(message, pool, self, source)
        self.deliveries.append(delivery)
        return delivery

    async def stop_taking(self) -> None:
        """Nothing was pushed, so nothing is to return."""
        self.times_stopped += 1

    def take_back(self) -> None:
        """What is in somebody's hands is queued again, as when a connection is lost."""
        for delivery in self.deliveries:
            if delivery.outcome is None:
                delivery.outcome = "taken back"
                self.put_back(delivery.pool, delivery.message, delivery.source)

    def unsettled(self) -> int:
        """How many are in somebody's hands."""
        return sum(delivery.outcome is None for delivery in self.deliveries)

    async def waiting(self, pool: str) -> int:
        """Length of the queue."""
        return len(self._queues[pool])

    def wake(self) -> None:
        """Look again."""
        self._news.set()


@dataclass
class MemoryDecisions:
    """First come, first served."""

    bus: "MemoryBus"
    #: By execution and attempt.
    made: dict[tuple[str, int], Claim] = field(default_factory=dict)
    #: By execution: the first end, which decides the attempts that nobody had claimed.
    ended: dict[str, End] = field(default_factory=dict)
    #: Every claim that was proposed, repetitions included.
    proposed: list[Proposal] = field(default_factory=list)
    #: By execution, and whether it is a cancel.
    first_ends: dict[tuple[str, bool], End] = field(default_factory=dict)
    _gap: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def decide(self, proposal: Proposal) -> Decision:
        """The first proposal for the attempt."""
        self.bus.check()
        self.proposed.append(proposal)
        name = (proposal.execution_id, proposal.reason == CANCELLED) if isinstance(proposal, End) else None
        if isinstance(proposal, End) and name is not None and name not in self.first_ends:
            self.first_ends[name] = proposal
            news, self._news = self._news, asyncio.Event()
            news.set()
        if isinstance(proposal, End):
            first = self.ended.setdefault(proposal.execution_id, proposal)
            claims = [claim for (execution_id, _), claim in self.made.items() if execution_id == proposal.execution_id]
            return max(claims, key=lambda claim: claim.attempt) if claims else first
        name_of_attempt = (proposal.execution_id, proposal.attempt)
        if name_of_attempt not in self.made and proposal.execution_id in self.ended:
            return self.ended[proposal.execution_id]
        if name_of_attempt not in self.made and proposal.epoch in self.bus.epochs_.fenced:
            raise Fenced(proposal.epoch)
        return self.made.setdefault(name_of_attempt, proposal)

    async def decision_for(self, execution_id: str, attempt: int) -> Decision | None:
        """What was decided."""
        return self.made.get((execution_id, attempt)) or self.ended.get(execution_id)

    async def watch(self) -> AsyncIterator[Decision]:
        """Those of the past; nobody here waits for new ones."""
        for claim in list(self.made.values()):
            yield claim
        for end in list(self.ended.values()):
            yield end

    async def end_of(self, execution_id: str) -> End | None:
        """The first one."""
        return self.first_ends.get((execution_id, True)) or self.first_ends.get((execution_id, False))

    def forget(self) -> None:
        """The record is another one, and empty."""
        self.made.clear()
        self._gap.set()

    async def gaps(self) -> AsyncIterator[None]:
        """Each time that it was forgotten."""
        while True:
            await self._gap.wait()
            self._gap.clear()
            yield

    async def ends(self) -> AsyncIterator[End]:
        """All of them, then new ones."""
        seen = 0
        while True:
            news = self._news
            for end in list(self.first_ends.values())[seen:]:
                seen += 1
                yield end
            if seen == len(self.first_ends):
                await news.wait()


@dataclass
class MemoryEpochs:
    """Fences that tests write, and hellos."""

    bus: "MemoryBus"
    hellos: list[Hello] = field(default_factory=list)
    fenced: list[str] = field(default_factory=list)
    times_caught_up: int = 0
    is_displaced: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def hello(self, hello: Hello) -> None:
        """Remember it."""
        self.bus.check()
        self.hellos.append(hello)
        if hello.epoch in self.fenced:
            raise Fenced(hello.epoch)

    async def displaced(self) -> None:
        """Wait for the test to say so."""
        await self.is_displaced.wait()

    async def catch_up(self) -> None:
        """All is known."""
        self.bus.check()
        self.times_caught_up += 1

    async def fence(self, epoch: str) -> None:
        """Fence, once."""
        if epoch not in self.fenced:
            self.fenced.append(epoch)
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def is_fenced(self, epoch: str) -> bool:
        """Whether it was."""
        return epoch in self.fenced

    async def fences(self) -> AsyncIterator[str]:
        """All of them, then new ones."""
        seen = 0
        while True:
            news = self._news
            for epoch in self.fenced[seen:]:
                seen += 1
                yield epoch
            if seen == len(self.fenced):
                await news.wait()

    async def with_claims(self) -> Sequence[Epoch]:
        """Those of the decisions."""
        claims = [decision for decision in self.bus.decisions_.made.values() if isinstance(decision, Claim)]
        return [
            Epoch(epoch=epoch, runner_id=None, is_fenced=epoch in self.fenced, last_claim=len(claims))
            for epoch in sorted({claim.epoch for claim in claims})
        ]

    async def claims_of(self, epoch: str, after: int, limit: int) -> Sequence[tuple[int, Claim]]:
        """Those of the decisions, in order."""
        claims = [decision for decision in self.bus.decisions_.made.values() if isinstance(decision, Claim)]
        newest = {claim.execution_id: claim.attempt for claim in sorted(claims, key=lambda claim: claim.attempt)}
        numbered = [(number, claim) for number, claim in enumerate(claims, 1) if claim.attempt == newest[claim.execution_id]]
        return [(number, claim) for number, claim in numbered if claim.epoch == epoch and number > after][:limit]


@dataclass
class MemoryStreams:
    """Lists of records."""

    bus: "MemoryBus"
    records: dict[StreamName, list[Record]] = field(default_factory=lambda: {name: [] for name in StreamName})
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def record(self, stream: StreamName, source: Source, key: str, message: Message) -> None:
        """Append without a switch in between."""
        records = self.records[stream]
        records.append(Record(position=Position(len(records), message.id), source=source, key=key, message=message))
        news, self._news = self._news, asyncio.Event()
        news.set()

    def replace(self, stream: StreamName) -> None:
        """Another stream in its place, with nothing in it."""
        self.records[stream] = []
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def append(self, stream: StreamName, key: str, message: Message) -> None:
        """Append a report."""
        self.bus.check()
        await asyncio.sleep(0)  # a real append lets others run meanwhile
        self.record(stream, Source.REPORTS, key, message)

    async def end(self, stream: StreamName) -> int | None:
        """Place of the last record."""
        return len(self.records[stream]) - 1 if self.records[stream] else None

    async def read(self, stream: StreamName, after: Position | None) -> AsyncIterator[Batch]:
        """Batches of what is there, then of what comes."""
        offset = 0 if after is None else after.offset + 1
        last = after
        while True:
            news = self._news
            here = None if last is None or len(self.records[stream]) < offset else self.records[stream][offset - 1].position
            if last is not None and here != last:
                raise StreamGap(stream.value, last, here)
            batch = self.records[stream][offset:]
            if batch:
                offset += len(batch)
                last = batch[-1].position
                yield batch
            else:
                await news.wait()


class MemoryLeases(EmbeddedLeases):
    """Those of the embedded bus, which are in memory anyway, and all that were ever written."""

    def __init__(self, bus: "MemoryBus") -> None:
        super().__init__()
        self.bus = bus
        self.kept: list[Lease] = []
        #: Another runner of the same id, where there is one.
        self.rival: Lease | None = None
        self.times_asked = 0

    async def keep(self, lease: Lease) -> None:
        """Say that a runner is there."""
        self.bus.check()
        self.kept.append(lease)
        await super().keep(lease)

    async def rival_of(self, lease: Lease) -> Lease | None:
        """As the test says."""
        await self.keep(lease)
        self.times_asked += 1
        return self.rival


class MemoryBus:
    """A bus that can be made to go away."""

    def __init__(self) -> None:
        self._away = False
        self.commands_ = MemoryCommands(self)
        self.decisions_ = MemoryDecisions(self)
        self.epochs_ = MemoryEpochs(self)
        self.streams_ = MemoryStreams(self)
        self.leases_ = MemoryLeases(self)
        self.questions_ = EmbeddedQuestions()

    @property
    def away(self) -> bool:
        """While true, every call that goes to the server fails."""
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        self.commands_.wake()

    def check(self) -> None:
        """Fail where the bus is away."""
        if self._away:
            raise BusUnavailable("the memory bus is away")

    @property
    def commands(self) -> Commands:
        """The port."""
        return self.commands_

    @property
    def decisions(self) -> Decisions:
        """The port."""
        return self.decisions_

    @property
    def epochs(self) -> Epochs:
        """The port."""
        return self.epochs_

    @property
    def streams(self) -> Streams:
        """The port."""
        return self.streams_

    @property
    def announcements(self) -> Announcements:
        """Not here: the read side has fakes of its own."""
        raise NotImplementedError

    @property
    def leases(self) -> Leases:
        """The port."""
        return self.leases_

    @property
    def questions(self) -> Questions:
        """The port."""
        return self.questions_

    @property
    def dead_letters(self) -> DeadLetters:
        """Not here: a runner never asks for them."""
        raise NotImplementedError

    @property
    def state(self) -> BusState:
        """As switched."""
        return BusState(connected=not self._away, problem="away" if self._away else None)

    async def open(self, pools: frozenset[str]) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""
