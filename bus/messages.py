"""What travels on the bus, without a word about what is inside."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schemas.times import Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A body and what AMQP says beside it. Times are aware and in UTC."""

    #: AMQP's message_id: the execution id of a command, the event id of an event. ``None`` only on a foreign message.
    id: str | None
    body: bytes
    content_type: str = "application/json"
    timestamp: datetime | None = None
    reply_to: str | None = None
    correlation_id: str | None = None


class StreamName(StrEnum):
    """The streams that services read; the control stream is seen through :class:`bus.ports.Decisions` alone."""

    #: Every ExecuteProgram accepted and every event, in the one order that counts.
    LOG = "log"
    #: Pieces of program output.
    OUTPUT = "output"
    #: What must outlive the log: long-lived tokens and their revocations.
    STATE = "state"


class Source(StrEnum):
    """Where a record came in, which tells (with its key) what it is: a body never does."""

    #: ``hub.commands``: anybody may write there.
    COMMANDS = "commands"
    #: ``hub.reports``: only runners and the holder may.
    REPORTS = "reports"


@dataclass(frozen=True, slots=True)
class Position:
    """The place of one record in a stream: a reader goes on after it, and its id shows whether the stream is still the same."""

    offset: int
    message_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record of a stream."""

    position: Position
    source: Source
    #: Routing key: ``execute.<pool>``, ``retry.<pool>``, ``execution.<status>.<program_id>``,
    #: ``output.<program_id>.<execution_id>`` or ``state.<kind>``.
    key: str
    message: Message


Batch = Sequence[Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One runner's wish to run one attempt of one execution."""

    execution_id: str
    attempt: int
    #: Identity of the runner's journal.
    epoch: str
    #: Random, journalled before it is published: publishing the same claim again is harmless.
    nonce: str
    #: Of what was asked for: tells two commands under one id apart.
    digest: str


#: The reason of an end that somebody asked for. It alone stops what runs already; any other end is one for what does not run.
CANCELLED = "cancelled"
#: The reason of an end because its command waited for longer than a command may.
EXPIRED = "expired"
#: The reason of an end because its command is gone: no runner will ever be given it.
COMMAND_LOST = "command_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The decision that an execution will not run (again)."""

    execution_id: str
    #: :data:`CANCELLED`, or why else: a word for programs.
    reason: str
    requested_by: str | None = None
    #: What whoever asked for it says about it, for people.
    why: str | None = None

    @property
    def told(self) -> str:
        """Who and why, for people: ``Cancelled by ana: took too long``."""
        by = f" by {self.requested_by}" if self.requested_by else ""
        why = self.why or ("" if self.reason == CANCELLED else self.reason)
        return f"Cancelled{by}: {why}" if why else f"Cancelled{by}"


Proposal = Claim | End
#: The proposal that came first, which is the decision for everybody and for ever.
Decision = Claim | End


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A process's word that it works under an epoch from now on."""

    epoch: str
    #: Random, of the process.
    process: str
    runner_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """The word that an epoch is over: whatever it claims from here on decides nothing."""

    epoch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """An epoch that claims were made under."""

    epoch: str
    #: ``None`` where nobody said.
    runner_id: str | None
    is_fenced: bool
    #: Place of the newest of its claims.
    last_claim: int


#: Seconds between two leases of a runner, and between two ticks of the holder.
LEASE_SECONDS = 5.0
#: Leases that a runner may fail to write in a row: for so many intervals each is good.
LEASES_A_TTL = 6
LEASE_TTL_SECONDS = LEASES_A_TTL * LEASE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A runner's word that it is there."""

    runner_id: str
    #: Identity of the runner's journal.
    epoch: str
    pool: str
    max_concurrent_executions: int
    #: When the process began to run.
    started_at: Time
    #: By the writer's clock, and only ever compared with another of the same writer.
    written_at: Time
    engine_version: str | None = None
    ttl_seconds: float = LEASE_TTL_SECONDS
    #: Commands that the process has in hand or in its buffers and has not settled; ``None`` where it does not say.
    unsettled: int | None = None
    #: The last word of a runner that goes: nobody is to miss it.
    leaves: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The holder's word that its interval has passed, among the leases: their stream has no other clock."""

    #: Random, of one holding of the lock.
    holder: str
    #: From 1, without gaps; the next one is written after this one was read back.
    number: int
    #: Length of the interval.
    seconds: float


class DeadReason(StrEnum):
    """Why a command is a dead letter."""

    #: A runner could not understand it.
    MALFORMED = "malformed"
    #: It waited for longer than a command may wait.
    EXPIRED = "expired"
    #: It was handed out, and came back, more often than a command may.
    DELIVERY_LIMIT = "delivery_limit"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A command that nobody will run, without the rest of its body."""

    #: A UUID of its own: what is dead may have no message id, or one that others have too.
    id: str
    #: Rises from each to the next; a page is asked for by it.
    place: int
    reason: DeadReason
    #: For people: what exactly was wrong. It may quote what strangers wrote. Empty where nothing is known.
    detail: str
    #: Routing key that it came with; empty where that is not known.
    key: str
    #: ``None`` where nobody said.
    dead_at: datetime | None
    message_id: str | None
    #: Bytes of the body, and the first of them.
    size: int
    preview: bytes


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """Some dead letters, the newest first."""

    letters: Sequence[DeadLetter]
    #: What to ask the next page with; ``None`` where this is the last one.
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A message as a subscriber receives it."""

    key: str
    message: Message


@dataclass(frozen=True, slots=True)
class BusState:
    """How the bus is, for ``/health``."""

    connected: bool
    #: What is wrong, for people; ``None`` where nothing is.
    problem: str | None = None
