"""The promises of the bus. Services see these ports only; RabbitMQ and SQLite keep them, and one test suite runs on both.

Every method may raise :class:`bus.errors.BusUnavailable`, and :class:`bus.errors.BusClosed` once the bus was closed. Every wait
inside has a limit, except those that wait for somebody else's message. Methods may be called concurrently unless it says so.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from bus.attendance import Attendance
from bus.messages import (
    Announcement,
    Batch,
    BusState,
    Claim,
    DeadLetter,
    DeadLetterPage,
    DeadReason,
    Decision,
    End,
    Epoch,
    Hello,
    Lease,
    Message,
    Position,
    Proposal,
    Source,
    StreamName,
)


class Delivery(Protocol):
    """One command in the hands of one runner, to be settled exactly once. Unsettled, it is delivered again to somebody."""

    @property
    def message(self) -> Message:
        """The command as it was published."""

    @property
    def source(self) -> Source:
        """Where it came in: what came from where anybody may write is a first attempt, whatever it says."""

    async def done(self) -> None:
        """Settle it for good. Call only once the decision for it is known and durable.

        Settling the delivery that took the last free slot never makes the broker push another one: it stops consuming first.
        A lost connection is no error here: the command comes again, and its decision stands.
        """

    async def reject(self, reason: str) -> None:
        """Move it to the dead letters, with the reason beside it. For what can't be understood, at first sight."""

    async def give_back(self) -> None:
        """Let another runner have it. Rare: RabbitMQ counts polite returns too, and dead-letters the twentieth."""


class Commands(Protocol):
    """Commands on their way to the runners of a pool."""

    async def accept(self, pool: str, message: Message) -> None:
        """Publish an ExecuteProgram, durably, to the pool's work queue and to the log in one step.

        When this returns the command is queued and will be in the log; both or neither.

        Raises:
            UnknownPool: the pool has no work queue; nothing was accepted.
            BusUnavailable: with ``outcome_unknown`` where it may have been accepted all the same.
        """

    async def retry(self, pool: str, message: Message) -> None:
        """Publish a further attempt of an execution, as :meth:`accept` does the first. The holder alone does so.

        Its record in the log has the source ``reports`` and the key ``retry.<pool>``, and so has its delivery: nobody who may
        only publish commands can make one. Doing it again is harmless, as the attempt is claimed once.

        Raises:
            UnknownPool: the pool has no work queue; nothing was accepted.
            BusUnavailable: with ``outcome_unknown`` where it may have been accepted all the same.
        """

    async def take(self, pool: str, free_slots: int) -> Delivery:
        """Wait for the next command. ``free_slots`` (at least 1) is how many the caller could run now, this one included.

        At no time does this process hold more unsettled and buffered deliveries than its free slots: what it can't run stays
        in the queue for other runners. To be called by one task at a time per pool. Cancelling the wait loses no command.
        Connection losses are survived inside; the caller notices a delay only.
        """

    async def stop_taking(self) -> None:
        """Stop consuming and return what was pushed but not handed out. Deliveries in hand stay valid. Safe to repeat.

        To be called while nobody waits in :meth:`take`, which would begin to consume again when it is called next.
        """

    def unsettled(self) -> int:
        """How many deliveries this process has that are not settled, those not handed out yet among them. Never waits."""

    async def waiting(self, pool: str) -> int:
        """How many commands wait in the pool's queue. May be up to a second old.

        Raises:
            UnknownPool: the pool has no work queue.
        """


class Decisions(Protocol):
    """The small ordered record whose first entry for an attempt decides it, across all hosts."""

    async def decide(self, proposal: Proposal) -> Decision:
        """Propose, and return what was decided for that attempt: the first claim of the attempt or end of the execution ever
        made, by whomever.

        An ``End`` decides all attempts that no claim has decided. Proposing the same claim again (same nonce) is harmless.
        The answer is the same for everybody, for ever, across restarts of processes and broker.

        Raises:
            Fenced: the claim's epoch was fenced before the claim, which therefore decides nothing. Claim again under a new one.
        """

    async def decision_for(self, execution_id: str, attempt: int) -> Decision | None:
        """The decision as far as it is known here, without proposing anything."""

    def watch(self) -> AsyncIterator[Decision]:
        """Every decision that is made from now on, in order."""

    async def end_of(self, execution_id: str) -> End | None:
        """The first cancel of an execution, else its first end of another kind, as far as it is known here.

        Also where a claim came before it.
        """

    def gaps(self) -> AsyncIterator[None]:
        """Comes each time, from now on, that the record turns out to have lost something, or to be another one.

        What was decided may be forgotten then: whoever has claimed something and is not done with it proposes it again.
        """

    def ends(self) -> AsyncIterator[End]:
        """The first end and the first cancel of each execution: all that are known, then new ones as they come, in order.

        Also those that decide nothing, because a claim came before them: whoever runs the execution is to hear of them. One
        may come twice.
        """


class Epochs(Protocol):
    """Which epochs may still claim, in the one order of claims: a fence makes void what its epoch claims after it.

    An epoch is the identity of one runner's journal. The embedded bus has one runner, which is never fenced.
    """

    async def hello(self, hello: Hello) -> None:
        """Say that this process works under the epoch. When this returns, all that was said before it is known here.

        Raises:
            Fenced: the epoch is over.
        """

    async def displaced(self) -> None:
        """Wait until another process has said hello for the epoch of this one, after it: that one goes on, not this one."""

    async def catch_up(self) -> None:
        """Learn all that was said up to now: for who was away for a while, before it acts.

        Who was away for so long that a fence may have been forgotten meanwhile is fenced by this.
        """

    async def fence(self, epoch: str) -> None:
        """End an epoch: when this returns, all that it has claimed before the fence is known here. Safe to repeat."""

    async def is_fenced(self, epoch: str) -> bool:
        """Whether the epoch is over, as far as it is known here."""

    def fences(self) -> AsyncIterator[str]:
        """Every epoch that is over: all that are known, then new ones as they come."""

    async def with_claims(self) -> Sequence[Epoch]:
        """Every epoch that attempts were claimed under, as far as it is known here."""

    async def claims_of(self, epoch: str, after: int, limit: int) -> Sequence[tuple[int, Claim]]:
        """Attempts that were claimed under an epoch, each with its place, in order, after a place.

        Without those that were followed by a claim of a later attempt.
        """


class Streams(Protocol):
    """Ordered, durable, replayable records."""

    async def append(self, stream: StreamName, key: str, message: Message) -> None:
        """Append one report; durable when this returns. Appends that are awaited one after the other keep that order.

        A retry inside may append twice: readers recognise the message id.
        """

    def read(self, stream: StreamName, after: Position | None) -> AsyncIterator[Batch]:
        """Batches of records after a position (``None``: from the first), then new ones as they come, without end.

        A batch is never empty, keeps order, and holds what is there: no record waits for others. Commands appear with source
        ``commands``, reports with ``reports``. Connection losses are survived inside, without a gap or a repeat.

        Raises:
            StreamGap: from the iterator: the stream does not go on after that position, or after the last record it gave. What
                there is, is read without a position.
        """

    async def end(self, stream: StreamName) -> int | None:
        """Place of the last record that is there; ``None`` where there is none."""


class Holder(Protocol):
    """The one process that may announce, for as long as it holds the lock."""

    @property
    def position(self) -> int | None:
        """Offset in the log of the last record whose transition was announced by any holder; ``None`` before the first."""

    async def announce(self, key: str, message: Message) -> None:
        """Publish to every subscriber that bound the key; confirmed when this returns. In order of the calls.

        A subscriber's own queue that refuses (because it is full, and set to) is passed over: it must not stop the others.

        Raises:
            BusUnavailable: the lock may be lost: leave the context, and hold again.
        """

    async def announce_all(self, announcements: Sequence[Announcement]) -> None:
        """The same of several at once, in no order among them. It waits for their confirms together.

        Raises:
            BusUnavailable: as :meth:`announce`; any of them may have been published.
        """

    async def reply(self, queue: str, message: Message) -> None:
        """Send to one queue by name. A queue that does not exist is no error: nobody waits any more."""

    async def advance(self, position: int) -> None:
        """Record that everything up to this offset was announced. A successor starts after it."""


class Announcements(Protocol):
    """Accepted transitions on their way to subscribers."""

    def hold(self) -> AbstractAsyncContextManager[Holder]:
        """Wait for the announcer's lock, however long that takes, and hold it inside the context.

        Losing it (a lost connection) makes every later call of the holder raise BusUnavailable.
        """

    def subscribe(
        self, patterns: list[str], *, name: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Announcement]]:
        """Announcements whose key matches a topic pattern (``*`` one word, ``#`` any number), from entering the context on.

        With a ``name`` the subscription is durable and bounded (the oldest are dropped when full): what is announced while
        nobody is there waits. An announcement may come twice, with the same message id. The last one handed out counts as dealt
        with when the next one is asked for, or the context is left without an error.

        Raises:
            BusUnavailable: from the iterator, without a name: the connection was lost, and something may have been missed.
            ValueError: the name can't name a queue.
        """


class Leases(Protocol):
    """Which runners are there."""

    async def keep(self, lease: Lease) -> None:
        """Say that a runner is there (or goes); everybody who follows knows when this returns, or soon after.

        Not kept for later: a lease that can't be written now is worth nothing then.
        """

    async def follow(self) -> None:
        """Read leases, for ever, for :meth:`live` to know of them. To be run by one task of a process that asks.

        Connection losses are survived inside.

        Raises:
            BusClosed: the bus was closed.
        """

    def live(self) -> Sequence[Lease]:
        """The newest lease of each runner that is there, by runner id, as far as they were read here. Never waits.

        A moment after :meth:`follow` began they are all known. A runner that died stands here until its lease has run out.
        No clocks of two hosts are compared: how old a lease is, the reader's own clock and the order of the leases tell.
        """

    async def rival_of(self, lease: Lease) -> Lease | None:
        """The lease of another journal whose runner lives under the id of this one; ``None`` where there is none.

        The lease is written. Where nobody of that id was there a moment ago this takes no time; else it waits for another word
        of it, a bit longer than that should take: what a process wrote that is gone is no sign of life.
        """

    def ticks(self, seconds: float) -> AsyncIterator[Attendance]:
        """For the holder of the announcer's lock: write a tick every so many seconds, and tell after each who is there.

        A tick is written after the one before it was read back, so nothing passes for whoever is cut off, or frozen. It is the
        same object each time. On the embedded bus, where nobody is ever lost, nothing comes.
        """


class DeadLetters(Protocol):
    """Commands that nobody will run: not understood, expired, or handed out too often. They stay until they are removed.

    The newest :data:`bus.topology.DEAD_LETTERS` are shown. One may be there twice where a runner died while it rejected it.
    """

    async def follow(self) -> None:
        """Read dead letters, for ever, for the other methods to know of them. To be run by one task of a process that asks.

        Connection losses are survived inside.

        Raises:
            BusClosed: the bus was closed.
        """

    def count(self) -> int:
        """How many there are, as far as they were read here. Never waits."""

    async def page(self, limit: int, *, reason: DeadReason | None = None, before: int | None = None) -> DeadLetterPage:
        """The newest ones, the newest first, of one reason or of all. Nothing is taken, whoever else looks.

        ``before`` is what the page before this one said in ``next``; ``None`` for the first page.
        """

    async def find(self, letter_id: str) -> tuple[DeadLetter, Message] | None:
        """One, and the command as it was published; ``None`` where there is none (any more)."""

    async def remove(self, letter_id: str) -> bool:
        """Remove one: here when this returns, and soon everywhere. False where there is none.

        Raises:
            BusUnavailable: with ``outcome_unknown`` where it may be removed all the same. Doing it again does no harm.
        """


#: Makes the answer to a question. It is cancelled when the asker does not wait for it any more.
AnswerHandler = Callable[[bytes], Awaitable[bytes]]


class Questions(Protocol):
    """What a runner alone knows, asked when somebody wants it. Nothing here is kept: whoever is not there is not heard."""

    async def answer(self, runner_id: str, handler: AnswerHandler) -> None:
        """Answer the questions to this runner, for ever, a few at a time.

        ``handler`` gives the answer, of at most :data:`bus.limits.MOST_ANSWER_BYTES`. Where it raises, the asker gets none. A
        question that waited for longer than its asker is not answered, but for a few that were pushed to a process that then
        froze. Connection losses are survived inside.

        Raises:
            BusClosed: the bus was closed.
            ValueError: the id can't name a runner.
        """

    async def ask(self, runner_ids: Collection[str], question: bytes, *, limit_seconds: float) -> Mapping[str, bytes]:
        """Ask these runners at the same time; the answers by runner id. A runner that gave none in time is not in there.

        A runner that can't be reached, or has too much to answer already, is not waited for.

        Raises:
            BusUnavailable: nobody could be asked, or no answer heard.
            ValueError: the question is larger than :data:`bus.limits.MOST_QUESTION_BYTES`, or an id can't name a runner.
        """


class Bus(Protocol):
    """The bus of one process. Open before use; close when done."""

    @property
    def commands(self) -> Commands: ...

    @property
    def decisions(self) -> Decisions: ...

    @property
    def epochs(self) -> Epochs: ...

    @property
    def streams(self) -> Streams: ...

    @property
    def announcements(self) -> Announcements: ...

    @property
    def leases(self) -> Leases: ...

    @property
    def questions(self) -> Questions: ...

    @property
    def dead_letters(self) -> DeadLetters: ...

    @property
    def state(self) -> BusState:
        """How the bus is at this moment; never waits."""

    async def open(self, pools: frozenset[str]) -> None:
        """Connect and declare everything, the work queues of these pools included. Safe to repeat with further pools.

        Raises:
            BusUnavailable: the server can't be reached now; trying again later is right.
            BusInUse: another process has the embedded bus open; trying again is of no use before it has ended.
            ValueError: a pool has a name that can't be part of a routing key.
        """

    async def close(self) -> None:
        """Stop consuming, flush what was promised, disconnect. Safe to repeat."""
