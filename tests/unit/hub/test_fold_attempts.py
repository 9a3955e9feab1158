"""M8: the fold with several attempts: forward to the next one, never back to an earlier one, whatever comes in what order."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages import Record
from hub.fold import Folded, Transition, fold
from hub.log_entries import Asked, AttemptTold, Cleaned, Entry, Progressed, Retried, Skip, Told, understand_all
from hub.stats import moves
from schemas.events import AttemptEnded, Ended, Queued, Running
from schemas.executions import Attempt, Execution
from schemas.output import StreamSummary
from schemas.reasons import Reason
from schemas.status import Status
from tests.support.records import NOON, asked, attempt_ended, ended, numbered, progressed, report, retried, running, told, uid

ONE = uid(1)
LATER = NOON + timedelta(minutes=10)


def summary(size: int) -> StreamSummary:
    return StreamSummary(total_bytes=size, kept_bytes=size, encoding="utf-8", content="x" * size)


#: As the row keeps it.
KEPT = StreamSummary(total_bytes=3, kept_bytes=3, encoding="utf-8")


def entries_of(*records: Record) -> list[Entry]:
    entries, _ = understand_all(numbered(*records))
    return [entry for entry in entries if not isinstance(entry, Cleaned)]


def apply(*records: Record) -> Folded:
    return fold({}, entries_of(*records))


def told_of(folded: Folded) -> list[tuple[str, str]]:
    return [(transition.event.id.removeprefix(ONE), transition.event.routing_key) for transition in folded.transitions]


TWO_ATTEMPTS = (
    asked(ONE, parameters={"a": 1}, reply_to="reply.x", accepted_at=NOON.isoformat()),
    told(running(ONE, container_id="c1", image="img")),
    told(attempt_ended(ONE, exit_code=3, message="It failed.", stderr=summary(3))),
    retried(ONE, retried_at=LATER.isoformat()),
    told(running(ONE, attempt=2, started_at=LATER, runner_id="r2")),
    told(ended(ONE, Status.COMPLETED, attempt=2, started_at=LATER, ended_at=LATER, runner_id="r2", stdout=summary(5))),
)


def test_m8_two_attempts_are_one_execution_with_one_terminal_and_the_first_attempt_listed() -> None:
    folded = apply(*TWO_ATTEMPTS)

    assert told_of(folded) == [
        (":1:0", "execution.queued.prog"),
        (":1:1", "execution.running.prog"),
        (":1:attempt_ended", "execution.attempt_ended.prog"),
        (":2:0", "execution.queued.prog"),
        (":2:1", "execution.running.prog"),
        (":end", "execution.completed.prog"),
    ]
    assert [transition.is_terminal for transition in folded.transitions] == [False] * 5 + [True]
    # Whoever asked for a reply gets the end alone.
    assert [transition.reply_to for transition in folded.transitions] == [None] * 5 + ["reply.x"]
    row = folded.rows[ONE]
    assert (row.status, row.attempt, row.exit_code, row.reason, row.message) == (Status.COMPLETED, 2, 0, None, None)
    assert (row.started_at, row.runner_id, row.image, row.container_id) == (LATER, "r2", None, None)
    assert row.earlier == (
        Attempt(
            number=1,
            status=Status.FAILED,
            started_at=NOON,
            ended_at=NOON + timedelta(minutes=1),
            retry_at=NOON + timedelta(minutes=2),
            max_attempts=4,
            runner_id="r1",
            exit_code=3,
            reason=Reason.EXIT_CODE,
            message="It failed.",
            stderr=KEPT,
        ),
    )
    assert (row.output_attempt, row.stderr, row.retry_at) == (2, StreamSummary(), None)
    assert not folded.skipped


def test_m8_between_two_attempts_it_is_queued_and_says_when_the_next_one_is_due() -> None:
    row = apply(*TWO_ATTEMPTS[:3]).rows[ONE]

    assert (row.status, row.attempt, row.retry_at) == (Status.QUEUED, 2, NOON + timedelta(minutes=2))
    assert (row.exit_code, row.reason, row.started_at, row.ended_at, row.runner_id) == (None, None, None, None, None)
    assert row.progress == "Attempt 1 of 4 ended: failed. The next one is due at 2024-01-02T12:02:00+00:00"
    # What it wrote is still what there is to see.
    assert (row.output_attempt, row.stderr) == (1, KEPT)

    row = apply(*TWO_ATTEMPTS[:4]).rows[ONE]
    assert (row.status, row.attempt, row.retry_at, row.retried_at, row.progress) == (Status.QUEUED, 2, None, LATER, None)


def test_m8_the_digest_of_what_was_asked_for_is_nothing_for_subscribers() -> None:
    folded = apply(asked(ONE), told(attempt_ended(ONE, digest="d")))

    assert isinstance(folded.transitions[-1].event.data, AttemptEnded)
    assert folded.transitions[-1].event.data.digest is None


@pytest.mark.parametrize(
    ("late", "skip"),
    [
        (told(running(ONE, runner_id="r9", started_at=LATER)), Skip.EARLIER_ATTEMPT),
        (told(ended(ONE, Status.COMPLETED)), Skip.EARLIER_ATTEMPT),
        (told(ended(ONE, Status.FAILED, reason=Reason.RUNNER_LOST)), Skip.EARLIER_ATTEMPT),
        (told(attempt_ended(ONE, reason=Reason.RUNNER_LOST, ended_at=LATER)), Skip.EARLIER_ATTEMPT),
        (progressed(ONE, 99), Skip.DUPLICATE),
        # The same again is nothing to wonder about.
        (told(running(ONE)), Skip.DUPLICATE),
        (told(attempt_ended(ONE, exit_code=3, message="It failed.", stderr=summary(3))), Skip.DUPLICATE),
        (retried(ONE), Skip.DUPLICATE),
        (retried(ONE, 3), Skip.DUPLICATE),
    ],
)
@pytest.mark.parametrize("steps", [4, 5])
def test_m8_what_is_told_late_of_an_earlier_attempt_changes_nothing_and_is_counted(
    late: Record, skip: Skip, steps: int
) -> None:
    before, after = apply(*TWO_ATTEMPTS[:steps]), apply(*TWO_ATTEMPTS[:steps], late)

    assert after.rows == before.rows
    assert len(after.transitions) == len(before.transitions)
    assert after.skipped == Counter({skip: 1})


@pytest.mark.parametrize(
    ("late", "skip"),
    [
        (told(attempt_ended(ONE, 2)), Skip.SECOND_ENDING),
        (told(attempt_ended(ONE, 3)), Skip.SECOND_ENDING),
        (told(attempt_ended(ONE, exit_code=3, message="It failed.")), Skip.DUPLICATE),
        (told(running(ONE, attempt=3)), Skip.DUPLICATE),
        (told(ended(ONE, Status.FAILED, attempt=3)), Skip.SECOND_ENDING),
        (told(ended(ONE, Status.FAILED)), Skip.SECOND_ENDING),
        (retried(ONE, 3), Skip.DUPLICATE),
    ],
)
def test_m8_after_the_terminal_nothing_begins_again(late: Record, skip: Skip) -> None:
    before, after = apply(*TWO_ATTEMPTS), apply(*TWO_ATTEMPTS, late)

    assert after.rows == before.rows
    assert after.skipped == Counter({skip: 1})


def test_m8_a_cancel_between_two_attempts_keeps_what_the_first_one_wrote() -> None:
    cancelled = ended(ONE, Status.CANCELLED, attempt=2, exit_code=None, reason=Reason.CANCELLED)
    row = apply(*TWO_ATTEMPTS[:3], told(cancelled)).rows[ONE]

    assert (row.status, row.attempt, row.started_at, row.retry_at, row.progress) == (Status.CANCELLED, 2, None, None, None)
    assert (row.output_attempt, row.stderr) == (1, KEPT)
    assert len(row.earlier) == 1


def test_m8_an_attempt_that_could_not_be_started_is_one_too() -> None:
    never_ran = attempt_ended(ONE, started_at=None, exit_code=None, reason=Reason.IMAGE_PULL_FAILED)
    folded = apply(asked(ONE), told(never_ran))

    assert [key for _, key in told_of(folded)] == ["execution.queued.prog", "execution.attempt_ended.prog"]
    assert folded.rows[ONE].earlier[0].started_at is None


def test_m8_a_log_that_begins_in_the_middle_is_read_from_there() -> None:
    assert apply(told(running(ONE, attempt=3))).rows[ONE].attempt == 3
    row = apply(asked(ONE), told(running(ONE)), told(running(ONE, attempt=2, started_at=LATER, runner_id="r2"))).rows[ONE]
    assert (row.status, row.attempt, row.started_at, row.runner_id) == (Status.RUNNING, 2, LATER, "r2")


@pytest.mark.parametrize(
    ("record", "skip"),
    [
        (retried(ONE), Skip.UNASKED),
        (retried(ONE, 1), Skip.MALFORMED_COMMAND),
        (retried(ONE, 22), Skip.MALFORMED_COMMAND),
        (report(ONE, b"no json", key="retry.default"), Skip.MALFORMED_COMMAND),
        (told(attempt_ended(ONE), key="execution.attempt_ended.other"), Skip.WRONG_KEY),
        (told(attempt_ended(ONE), key="execution.failed.prog"), Skip.MALFORMED_EVENT),
        (told(ended(ONE), key="execution.attempt_ended.prog"), Skip.MALFORMED_EVENT),
    ],
)
def test_m8_what_is_no_attempt_makes_no_execution(record: Record, skip: Skip) -> None:
    entries, skipped = understand_all(numbered(record))
    folded = fold({}, [entry for entry in entries if not isinstance(entry, Cleaned)])

    assert folded.skipped + skipped == Counter({skip: 1})
    assert not folded.rows


def test_m8_a_stranger_who_writes_an_attempt_into_the_command_asks_for_the_first_one() -> None:
    folded = apply(asked(ONE, attempt=2))

    assert (folded.rows[ONE].attempt, folded.rows[ONE].status) == (1, Status.QUEUED)


IDS = [uid(number) for number in range(2)]
RECORDS = [
    record
    for execution_id in IDS
    for record in (
        asked(execution_id, reply_to="reply.q"),
        *(progressed(execution_id, seconds, attempt=attempt) for attempt in (1, 2) for seconds in (1, 2)),
        *(told(running(execution_id, attempt=attempt, runner_id=runner)) for attempt in (1, 2, 3) for runner in ("r1", "r2")),
        *(told(attempt_ended(execution_id, attempt)) for attempt in (1, 2, 3)),
        told(attempt_ended(execution_id, 1, reason=Reason.RUNNER_LOST, ended_at=LATER)),
        *(retried(execution_id, attempt) for attempt in (2, 3, 4)),
        told(ended(execution_id, Status.FAILED)),
        *(told(ended(execution_id, Status.COMPLETED, attempt=attempt)) for attempt in (2, 4)),
        told(ended(execution_id, Status.CANCELLED, attempt=3, exit_code=None)),
    )
]
LOGS = st.lists(st.sampled_from(RECORDS), max_size=60)

#: Waits for its next attempt, is queued, runs, has ended.
_WAITS, _QUEUED, _RUNS, _OVER = range(-1, 3)


def accepted(log: list[Entry]) -> list[int]:
    """The places of what counts, by the rule in its shortest form: the pair of attempt and stage only rises."""
    at: dict[str, tuple[int, int]] = {}
    over: set[str] = set()
    prepared: dict[tuple[str, int], object] = {}
    places = []
    for entry in log:
        name = entry.execution_id
        attempt, stage = at.get(name, (1, _QUEUED))
        match entry:
            case _ if name in over:
                continue
            case Asked():
                following, counts = (1, _QUEUED), name not in at
            case Told(fact=Running(attempt=number)):
                following, counts = (number, _RUNS), (number, _RUNS) > (attempt, stage)
            case Told(fact=fact):
                following, counts = (fact.attempt, _OVER), fact.attempt >= attempt
            case AttemptTold(fact=fact):
                following, counts = (fact.attempt + 1, _WAITS), fact.attempt >= attempt
            case Retried(command=command):
                following, counts = (attempt, _QUEUED), (attempt, stage) == (command.attempt, _WAITS)
            case Progressed(fact=step):
                following = (step.attempt, _QUEUED)
                last = prepared.get((name, step.attempt))
                counts = name in at and step.attempt >= attempt and stage < _RUNS
                counts = counts and (last is None or step.happened_at > last)  # type: ignore[operator]
                if counts:
                    prepared[name, step.attempt] = step.happened_at
        if counts:
            at[name] = following
            over |= {name} if following[1] == _OVER else set()
            places.append(entry.offset)
    return places


def _in_batches(log: list[Entry], cuts: list[int]) -> tuple[dict[str, Execution], list[Transition], Counter[Skip]]:
    rows: dict[str, Execution] = {}
    transitions: list[Transition] = []
    skipped: Counter[Skip] = Counter()
    for start, stop in pairwise([0, *sorted(cut for cut in cuts if cut < len(log)), len(log)]):
        folded = fold(rows, log[start:stop])
        rows.update(folded.rows)
        transitions += folded.transitions
        skipped += folded.skipped
    return rows, transitions, skipped


@given(LOGS, st.lists(st.integers(0, 59), max_size=8))
def test_m8_a_log_of_attempts_may_be_cut_into_batches_anywhere(records: list[Record], cuts: list[int]) -> None:
    log = entries_of(*records)

    assert _in_batches(log, cuts) == _in_batches(log, [])


@given(LOGS)
def test_m8_whatever_comes_attempts_only_rise_and_an_execution_ends_once_and_is_counted_once(records: list[Record]) -> None:
    log = entries_of(*records)
    rows, transitions, _ = _in_batches(log, [])

    # A command that comes late fills its columns, and is no transition.
    assert [transition.offset for transition in transitions] == accepted(log)
    ids = [transition.event.id for transition in transitions if not isinstance(transition.event.data, Queued)]
    assert len(ids) == len(set(ids)), "the id of an event names one event"
    for name, row in rows.items():
        facts = [transition.event.data for transition in transitions if transition.execution_id == name]
        assert [fact.attempt for fact in facts] == sorted(fact.attempt for fact in facts)
        assert sum(isinstance(fact, Ended) for fact in facts) == row.status.is_terminal
        assert [attempt.number for attempt in row.earlier] == [fact.attempt for fact in facts if isinstance(fact, AttemptEnded)]
        assert row.retry_at is None or (row.status is Status.QUEUED and row.earlier)
    assert sum(moves((None, row) for row in rows.values()).counters.values()) == len(rows)
