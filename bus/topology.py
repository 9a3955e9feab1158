"""Names, arguments and bindings of everything on the bus, as data. Arguments are final: a queue's can't change later.

::

                       ┌────────────────┐ execute.<pool> ─▶ [hub.work.<pool>] ──▶ runners of the pool
    gateways,          │                │                        └ rejected, expired, too often ──▶ ║hub.dead║
    any publisher ────▶│  hub.commands  │ execute.<pool> ─▶ ║hub.log║ ──▶ projectors
                       └────────────────┘ cancel ─────────▶ ║hub.control║ ──▶ every runner, the holder

                       ┌────────────────┐ execution.# ────▶ ║hub.log║
    runners, gateways, │                │ output.# ───────▶ ║hub.output║ ──▶ projectors
    the holder ───────▶│  hub.reports   │ control.# ──────▶ ║hub.control║
                       │                │ lease.# ────────▶ ║hub.leases║
                       │                │ state.# ────────▶ ║hub.state║ ──▶ gateways
                       │                │ dead.# ─────────▶ ║hub.dead║ ──▶ gateways
                       └────────────────┘ retry.<pool> ───▶ [hub.work.<pool>] and ║hub.log║

                       ┌────────────────┐ execution.<status>.<program_id>
    the holder ───────▶│ hub.executions │ ─────────────────▶ every subscriber's queue, [hub.subscriber.<name>] among them
                       └────────────────┘
    [hub.announcer]: one message, the checkpoint; who has it in hand is the holder.

                       ┌────────────────┐ ask.<runner_id> ─▶ (hub.questions.<runner_id>.…) ──▶ that runner
    gateways ─────────▶│ hub.questions  │
    runners ──────────▶│                │ answer.<asker> ──▶ (hub.answers.<asker>) ──▶ whoever asked
                       └────────────────┘

Double lines are streams: records stay after they were read. Round ones are exclusive: each lives as long as the connection of
the one process that reads it. No subscriber's queue is bound to ``hub.commands`` or ``hub.reports``, where one that refuses
would turn the confirm of a command that was taken into a nack.

The arrows come from those who may write there. ``retry.<pool>`` is the holder's alone: what comes by it is a further attempt
of an execution, and neither who may publish commands nor a runner may ask for one. (A topic permission on ``hub.reports``
says so.)

Questions have an exchange of their own rather than the default one, so that neither gateways nor runners need the right to
write into whatever queue there is. Nobody but these two may write to ``hub.questions`` or bind there: whoever can ask can read
what programs write. (With topic permissions: ``ask[.].*`` for gateways, ``answer[.].*`` for runners.)
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bus.limits import MOST_ANSWERS_BYTES
from bus.messages import StreamName

COMMANDS = "hub.commands"
REPORTS = "hub.reports"
EXECUTIONS = "hub.executions"
QUESTIONS = "hub.questions"
#: Topic exchanges, all durable.
EXCHANGES = (COMMANDS, REPORTS, EXECUTIONS, QUESTIONS)

LOG = "hub.log"
OUTPUT = "hub.output"
CONTROL = "hub.control"
LEASES = "hub.leases"
STATE = "hub.state"
DEAD = "hub.dead"
ANNOUNCER = "hub.announcer"

#: Key of a cancel on ``hub.commands``, where anybody may ask for one.
CANCEL_KEY = "cancel"
#: How the keys of further attempts begin, on ``hub.reports``: one that came by ``hub.commands`` would be anybody's.
RETRY_KEYS = "retry."
CLAIM_KEY = "control.claim"
END_KEY = "control.end"
HELLO_KEY = "control.hello"
FENCE_KEY = "control.fence"
#: A mark says nothing. Who writes one and reads it back has read all that was there before.
MARK_KEY = "control.mark"
LEASE_KEY = "lease.lease"
TICK_KEY = "lease.tick"
#: Key of the word that a dead letter was dealt with: a stream's records stay where they are.
DEAD_REMOVED_KEY = "dead.removed"
#: A mark, as of the control stream.
DEAD_MARK_KEY = "dead.mark"

#: Header of a dead letter: why it was rejected, for people.
REASON_HEADER = "x-hub-reason"
#: Header of a dead letter: the routing key it came with.
ORIGIN_HEADER = "x-hub-routing-key"
#: Header of a dead letter: when it was rejected, in ISO 8601.
DEAD_AT_HEADER = "x-hub-dead-at"
#: Longest reason that is kept beside a dead letter, in characters.
REASON_LENGTH = 1_000

DAY_SECONDS = 24 * 3600
#: Seconds a command may wait: a third of the control stream's age, so that its decision is always still there.
COMMAND_TTL_SECONDS = DAY_SECONDS
#: Backstop of a work queue's length; admission refuses far below it.
WORK_QUEUE_LENGTH = 1_000_000
#: Dead letters that are shown, the newest.
DEAD_LETTERS = 20_000
#: Bytes of dead letters that are kept, the newest: whoever may publish a command may make them as large as RabbitMQ allows.
DEAD_LETTER_BYTES = 1_000_000_000
#: Announcements that wait for a subscriber that is away, the newest.
NAMED_SUBSCRIPTION_LENGTH = 100_000
#: Announcements that wait for a subscriber that is there but slow, the newest.
SUBSCRIPTION_LENGTH = 10_000
#: Deliveries after which a command is dead-lettered, come what may.
DELIVERY_LIMIT = 20

#: Questions that wait for one runner; more are refused, and their askers know at once.
QUESTIONS_LENGTH = 100
#: Questions that one runner answers at the same time, which is also how many a frozen one may have in hand.
QUESTIONS_AT_A_TIME = 4

#: How long records stay.
LOG_AGE_DAYS = 30
DEAD_AGE_DAYS = 30
OUTPUT_AGE_DAYS = 7
CONTROL_AGE_DAYS = 3

_MEGABYTE = 1_000_000
_POOL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SUBSCRIBER = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_RUNNER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ASKER = re.compile(r"[0-9a-f]{32}")

Arguments = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue or stream."""

    name: str
    arguments: Arguments

    @property
    def is_stream(self) -> bool:
        """Whether records stay after they were read."""
        return self.arguments.get("x-queue-type") == "stream"


@dataclass(frozen=True, slots=True)
class Binding:
    """What an exchange sends to a queue."""

    exchange: str
    key: str
    queue: str


def _stream(name: str, *, age: str | None, segment_bytes: int, most_bytes: int | None = None) -> Queue:
    # Whole segments are removed: with the default size an age limit removes nothing for weeks.
    limits: dict[str, str | int | bool] = {"x-stream-max-segment-size-bytes": segment_bytes}
    if age is not None:
        limits["x-max-age"] = age
    if most_bytes is not None:
        limits["x-max-length-bytes"] = most_bytes
    return Queue(name, {"x-queue-type": "stream", **limits})


#: Every queue that does not depend on the configuration.
QUEUES = (
    _stream(LOG, age=f"{LOG_AGE_DAYS}D", segment_bytes=100 * _MEGABYTE),
    _stream(OUTPUT, age=f"{OUTPUT_AGE_DAYS}D", segment_bytes=100 * _MEGABYTE),
    _stream(CONTROL, age=f"{CONTROL_AGE_DAYS}D", segment_bytes=16 * _MEGABYTE),
    _stream(LEASES, age="1h", segment_bytes=16 * _MEGABYTE),
    _stream(STATE, age=None, segment_bytes=16 * _MEGABYTE),
    # A stream, because dead letters are looked at many times: out of a queue each look would take them, in front of others who
    # look, and count as a delivery.
    _stream(DEAD, age=f"{DEAD_AGE_DAYS}D", segment_bytes=16 * _MEGABYTE, most_bytes=DEAD_LETTER_BYTES),
    Queue(
        ANNOUNCER,
        # Each lost holder counts as a delivery, and a newer RabbitMQ drops the message after 20 unless told otherwise.
        {"x-queue-type": "quorum", "x-single-active-consumer": True, "x-delivery-limit": 1_000_000},
    ),
)

QUEUES_BY_NAME = {queue.name: queue for queue in QUEUES}

#: Every binding that does not depend on the configuration.
BINDINGS = (
    Binding(COMMANDS, CANCEL_KEY, CONTROL),
    Binding(REPORTS, "execution.#", LOG),
    Binding(REPORTS, "output.#", OUTPUT),
    Binding(REPORTS, "control.#", CONTROL),
    Binding(REPORTS, "lease.#", LEASES),
    Binding(REPORTS, "state.#", STATE),
    Binding(REPORTS, "dead.#", DEAD),
)

_WORK_ARGUMENTS: Arguments = {
    "x-queue-type": "quorum",
    "x-message-ttl": COMMAND_TTL_SECONDS * 1000,
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-max-length": WORK_QUEUE_LENGTH,
    # Never drop-head: what was confirmed would vanish. A refusal is a nack, which says "outcome unknown" and does not lie.
    "x-overflow": "reject-publish",
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": DEAD,
    "x-dead-letter-strategy": "at-least-once",
}

#: Where each stream that services read lives, and the first word of the keys that lead there.
STREAM_QUEUES = {StreamName.LOG: LOG, StreamName.OUTPUT: OUTPUT, StreamName.STATE: STATE}
_STREAM_WORDS = {StreamName.LOG: "execution", StreamName.OUTPUT: "output", StreamName.STATE: "state"}


def execute_key(pool: str) -> str:
    """Routing key of an ExecuteProgram for a pool.

    Raises:
        ValueError: the name is no single word of a routing key, so that it could reach other pools.
    """
    if _POOL.fullmatch(pool) is None:
        raise ValueError(f"{pool!r} can't name a pool: letters, digits, _ and -, at most 64")
    return f"execute.{pool}"


def retry_key(pool: str) -> str:
    """Routing key of a further attempt for a pool.

    Raises:
        ValueError: the name is no single word of a routing key.
    """
    execute_key(pool)
    return f"{RETRY_KEYS}{pool}"


def work_queue(pool: str) -> Queue:
    """The queue of a pool's commands."""
    execute_key(pool)
    return Queue(f"hub.work.{pool}", _WORK_ARGUMENTS)


def key_of_work_queue(name: str) -> str:
    """Routing key of the commands in the queue of this name; empty where it is no work queue."""
    prefix, _, pool = name.rpartition(".")
    return execute_key(pool) if prefix == "hub.work" and _POOL.fullmatch(pool) else ""


def pool_bindings(pool: str) -> tuple[Binding, ...]:
    """What makes a pool's commands arrive, in the order to declare.

    The log is bound for each pool and never by a wildcard: a command for an unknown pool must be unroutable, not accepted
    and never run. The work queue comes first: what is accepted between the two is run, and the log learns of it from the
    runner.
    """
    work, key, retry = work_queue(pool).name, execute_key(pool), retry_key(pool)
    return (
        Binding(COMMANDS, key, work),
        Binding(COMMANDS, key, LOG),
        Binding(REPORTS, retry, work),
        Binding(REPORTS, retry, LOG),
    )


def subscriber_queue(name: str) -> Queue:
    """The queue of a durable subscription.

    Raises:
        ValueError: the name is empty, too long, or has other characters than letters, digits and ``_.-``.
    """
    if _SUBSCRIBER.fullmatch(name) is None:
        raise ValueError(f"{name!r} can't name a subscription: letters, digits and _.-, at most 128")
    return Queue(
        f"hub.subscriber.{name}",
        {
            "x-queue-type": "quorum",
            "x-max-length": NAMED_SUBSCRIPTION_LENGTH,
            "x-overflow": "drop-head",
            "x-delivery-limit": DELIVERY_LIMIT,
        },
    )


def question_key(runner_id: str) -> str:
    """Routing key of a question to one runner.

    Raises:
        ValueError: the id has other characters than letters, digits and ``_.-``, so that it could reach other runners.
    """
    if _RUNNER.fullmatch(runner_id) is None:
        raise ValueError(f"{runner_id!r} can't name a runner: letters, digits and _.-, at most 64")
    return f"ask.{runner_id}"


def question_queue(runner_id: str, nonce: str) -> Queue:
    """The queue of the questions to one runner, for one connection.

    The nonce is new for each connection: the broker may still believe in the one before, and in its exclusive queue.
    """
    question_key(runner_id)
    return Queue(f"hub.questions.{runner_id}.{nonce}", {"x-max-length": QUESTIONS_LENGTH, "x-overflow": "reject-publish"})


def answer_key(asker: str) -> str:
    """Routing key of an answer.

    Raises:
        ValueError: this names no asker.
    """
    if _ASKER.fullmatch(asker) is None:
        raise ValueError(f"{asker!r} names no asker")
    return f"answer.{asker}"


def answer_queue(asker: str) -> Queue:
    """The queue of the answers to one question."""
    answer_key(asker)
    return Queue(f"hub.answers.{asker}", {"x-max-length-bytes": MOST_ANSWERS_BYTES, "x-overflow": "reject-publish"})


#: Streams by exchange and first word of the key, beside those that pools are bound with.
_BOUND = {(binding.exchange, binding.key.partition(".")[0]): binding.queue for binding in BINDINGS}


def stream_behind(exchange: str, key: str) -> str:
    """Name of the one stream that takes what is published there; empty where none does."""
    if not exchange:
        return key if key in QUEUES_BY_NAME and QUEUES_BY_NAME[key].is_stream else ""
    if key.startswith(("execute.", RETRY_KEYS)):
        return LOG
    return _BOUND.get((exchange, key.partition(".")[0]), "")


def check_report_key(stream: StreamName, key: str) -> None:
    """See that a report's key leads to the stream.

    Raises:
        ValueError: it does not.
    """
    word = _STREAM_WORDS[stream]
    if not key.startswith(f"{word}."):
        raise ValueError(f"a key of the stream {stream.value} begins with {word!r}, and {key!r} does not")


def matches(patterns: Iterable[str], key: str) -> bool:
    """Whether a topic exchange would send this key to a queue bound with one of the patterns."""
    words = key.split(".")
    return any(_match(pattern.split("."), words) for pattern in patterns)


def _match(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_match(pattern[1:], words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _match(pattern[1:], words[1:])
