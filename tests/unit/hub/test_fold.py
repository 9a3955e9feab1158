"""The fold: forward only, first ending wins, whatever comes in whatever order."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages import Record, Source
from hub.fold import Folded, Transition, fold
from hub.log_entries import Cleaned, Skip, understand_all
from schemas.commands import digest_of, parse_execute
from schemas.events import Ended, ExecutionEvent, Queued, Running, parse_event
from schemas.executions import Execution
from schemas.late_result_events import LateResultEvent
from schemas.output import StreamSummary
from schemas.progress_events import Progress, ProgressEvent
from schemas.reasons import Reason
from schemas.status import Status
from tests.support.records import NOON, asked, attempt_ended, ended, late, numbered, progressed, report, running, told, uid

ONE = uid(1)


def apply(*records: Record, rows: dict[str, Execution] | None = None) -> Folded:
    """Fold these records as one batch."""
    entries, skipped = understand_all(numbered(*records))
    folded = fold(rows or {}, [entry for entry in entries if not isinstance(entry, Cleaned)])
    folded.skipped.update(skipped)
    return folded


def statuses(folded: Folded) -> list[Status]:
    return [transition.event.data.status for transition in folded.transitions if isinstance(transition.event, ExecutionEvent)]


def test_a_command_a_start_and_an_ending_make_three_transitions_in_that_order() -> None:
    """E6"""
    folded = apply(
        asked(ONE, parameters={"NAME": "x"}, submitted_by="ada", accepted_at=NOON.isoformat()),
        told(running(ONE, image="img", container_id="c1")),
        told(ended(ONE, Status.FAILED, exit_code=3, started_at=NOON, message="It failed.")),
    )

    assert statuses(folded) == [Status.QUEUED, Status.RUNNING, Status.FAILED]
    assert [transition.previous for transition in folded.transitions] == [None, Status.QUEUED, Status.RUNNING]
    assert [transition.offset for transition in folded.transitions] == [0, 1, 2]
    row = folded.rows[ONE]
    assert row == Execution(
        execution_id=ONE,
        program_id="prog",
        status=Status.FAILED,
        pool="default",
        parameters={"NAME": "x"},
        submitted_by="ada",
        accepted_at=NOON,
        started_at=NOON,
        ended_at=NOON + timedelta(minutes=1),
        runner_id="r1",
        image="img",
        container_id="c1",
        was_warm=False,
        exit_code=3,
        reason=Reason.EXIT_CODE,
        message="It failed.",
        stdout=StreamSummary(),
        stderr=StreamSummary(),
        digest=row.digest,
    )
    assert row.digest is not None
    assert not folded.skipped


def test_whether_its_container_waited_is_known_from_the_start_of_an_attempt_to_that_of_the_next() -> None:
    started = (asked(ONE), told(running(ONE).model_copy(update={"was_warm": True})))

    assert apply(asked(ONE)).rows[ONE].was_warm is None
    assert apply(*started, told(ended(ONE, started_at=NOON))).rows[ONE].was_warm is True
    assert apply(*started, told(attempt_ended(ONE))).rows[ONE].was_warm is None
    assert apply(told(ended(ONE))).rows[ONE].was_warm is None


def test_the_queued_event_is_said_by_the_hub_and_the_others_by_their_runner() -> None:
    folded = apply(asked(ONE, submitted_by="ada", accepted_at=NOON.isoformat()), told(running(ONE)))

    queued, started = (transition.event for transition in folded.transitions)
    assert (queued.source, queued.id, queued.routing_key) == ("/hub", f"{ONE}:1:0", "execution.queued.prog")
    assert queued.data == Queued(execution_id=ONE, program_id="prog", accepted_at=NOON, submitted_by="ada")
    assert (started.source, started.id) == ("/runner/r1", f"{ONE}:1:1")


def test_a_bare_command_gets_its_time_from_the_message() -> None:
    """E5"""
    assert apply(asked(ONE, timestamp=NOON)).rows[ONE].accepted_at == NOON
    assert apply(asked(ONE)).rows[ONE].accepted_at is None


@pytest.mark.parametrize("typed", ["no such program!", "two.words", "with\nbreak", "trailing\n", "ñ", "#", "a" * 127 + "\n"])
def test_a_name_that_can_be_no_routing_key_is_announced_as_unknown_and_kept_as_typed(typed: str) -> None:
    folded = apply(asked(ONE, program=typed))

    assert folded.transitions[0].event.routing_key == "execution.queued.unknown"
    assert folded.rows[ONE].program_id == typed


def test_an_event_brings_the_canonical_program_id() -> None:
    """P5"""
    folded = apply(asked(ONE, program="my_key"), told(running(ONE, program="18")))

    assert [transition.event.data.program_id for transition in folded.transitions] == ["my_key", "18"]
    assert folded.rows[ONE].program_id == "18"


@pytest.mark.parametrize("first", ["running", "ended"])
def test_a_command_that_comes_late_fills_its_columns_and_makes_no_transition(first: str) -> None:
    fact = running(ONE, program="canonical") if first == "running" else ended(ONE, program="canonical")
    late = asked(ONE, program="key", parameters={"a": 1}, submitted_by="ada", reply_to="reply.x", correlation_id="7")

    folded = apply(told(fact), late)

    assert statuses(folded) == [fact.status]
    row = folded.rows[ONE]
    assert (row.status, row.program_id) == (fact.status, "canonical")
    assert (row.parameters, row.submitted_by, row.reply_to, row.correlation_id) == ({"a": 1}, "ada", "reply.x", "7")
    assert row.digest == digest_of(parse_execute(late.message.id, late.message.body)[1])


def test_a_late_command_without_a_time_keeps_what_the_event_said() -> None:
    folded = apply(told(running(ONE, accepted_at=NOON, submitted_by="ada")), asked(ONE))

    assert (folded.rows[ONE].accepted_at, folded.rows[ONE].submitted_by) == (NOON, "ada")


def test_an_ending_without_a_start_makes_a_row_and_one_transition() -> None:
    folded = apply(told(ended(ONE, Status.FAILED, reason=Reason.UNKNOWN_PROGRAM, exit_code=None)))

    assert statuses(folded) == [Status.FAILED]
    assert folded.transitions[0].previous is None
    assert folded.rows[ONE].started_at is None


def test_the_first_ending_wins_and_another_one_is_counted() -> None:
    folded = apply(asked(ONE), told(ended(ONE, Status.COMPLETED)), told(ended(ONE, Status.TIMEOUT)))

    assert statuses(folded) == [Status.QUEUED, Status.COMPLETED]
    assert folded.rows[ONE].status is Status.COMPLETED
    assert folded.skipped == Counter({Skip.SECOND_ENDING: 1})


def test_a_repeated_record_is_no_anomaly_and_no_second_transition() -> None:
    command, start, end = asked(ONE), told(running(ONE)), told(ended(ONE))

    folded = apply(command, command, start, start, end, end, start, command)

    assert statuses(folded) == [Status.QUEUED, Status.RUNNING, Status.COMPLETED]
    assert folded.skipped == Counter({Skip.DUPLICATE: 5})


def test_a_second_start_elsewhere_is_counted() -> None:
    folded = apply(asked(ONE), told(running(ONE, runner_id="r1")), told(running(ONE, runner_id="r2")))

    assert folded.rows[ONE].runner_id == "r1"
    assert folded.skipped == Counter({Skip.SECOND_START: 1})


def test_another_command_under_the_same_id_changes_nothing() -> None:
    folded = apply(asked(ONE, program="a"), asked(ONE, program="b"))

    assert folded.rows[ONE].program_id == "a"
    assert folded.skipped == Counter({Skip.OTHER_COMMAND: 1})


def digest(record: Record) -> str:
    """What its runner says of this command."""
    return digest_of(parse_execute(record.message.id, record.message.body)[1])


def test_m9_the_same_request_accepted_again_is_a_duplicate_whenever_that_was() -> None:
    first = asked(ONE, parameters={"a": 1, "b": 2.5}, accepted_at=NOON.isoformat())
    again = asked(ONE, parameters={"b": 2.5, "a": 1}, accepted_at=(NOON + timedelta(minutes=1)).isoformat())

    folded = apply(first, again)

    assert folded.skipped == Counter({Skip.DUPLICATE: 1})
    assert folded.rows[ONE].accepted_at == NOON


@pytest.mark.parametrize("fact", [running, ended])
def test_m9_of_two_commands_under_one_id_the_one_that_a_runner_took_is_shown(fact: Callable[..., Running | Ended]) -> None:
    mine, other = asked(ONE, parameters={"a": 1}), asked(ONE, parameters={"a": 2})

    folded = apply(mine, other, told(fact(ONE, digest=digest(other))))
    late = apply(mine, told(fact(ONE, digest=digest(other))), other)
    same = apply(mine, other, told(fact(ONE, digest=digest(mine))))

    assert (folded.rows[ONE].digest, folded.rows[ONE].parameters) == (digest(other), None)
    assert (late.rows[ONE].digest, late.rows[ONE].parameters) == (digest(other), {"a": 2})
    assert (same.rows[ONE].digest, same.rows[ONE].parameters) == (digest(mine), {"a": 1})
    assert len(folded.transitions) == 2


def test_m9_a_command_that_is_not_the_one_that_runs_does_not_fill_its_row() -> None:
    mine, other = asked(ONE, parameters={"a": 1}), asked(ONE, parameters={"a": 2})

    folded = apply(told(running(ONE, digest=digest(mine))), other, mine)

    assert folded.rows[ONE].parameters == {"a": 1}
    assert folded.skipped == Counter({Skip.OTHER_COMMAND: 1})


def test_subscribers_do_not_get_the_digest_by_which_parameters_could_be_guessed() -> None:
    command = asked(ONE, parameters={"PIN": "1234"})

    folded = apply(command, told(running(ONE, digest=digest(command))), told(ended(ONE, digest=digest(command))))

    for transition in folded.transitions:
        assert digest(command).encode() not in transition.event.to_bytes()
        assert parse_event(transition.event.to_bytes()) == transition.event


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.CANCELLED])
def test_only_the_ending_carries_the_address_for_the_reply(status: Status) -> None:
    folded = apply(asked(ONE, reply_to="reply.me", correlation_id="42"), told(running(ONE)), told(ended(ONE, status)))

    addresses = [(transition.reply_to, transition.correlation_id) for transition in folded.transitions]
    assert addresses == [(None, None), (None, None), ("reply.me", "42")]


def test_a_row_holds_counts_and_no_content() -> None:
    content = StreamSummary.inline(b"secret", total=10, chunks=1)

    folded = apply(told(ended(ONE, stdout=content)))

    assert folded.rows[ONE].stdout == content.model_copy(update={"content": None})
    assert b"secret" in folded.transitions[0].event.to_bytes()


def test_a_message_id_that_is_no_uuid_names_the_same_execution_every_time() -> None:
    folded = apply(asked("order-17"), asked("order-17"))

    assert len(folded.rows) == 1
    assert folded.skipped == Counter({Skip.DUPLICATE: 1})


START = told(running(ONE))
START_KEY = START.key


def start_with(old: bytes, new: bytes) -> Record:
    """The event of a start, with something else in its bytes."""
    assert old in START.message.body
    return report(ONE, START.message.body.replace(old, new), key=START_KEY)


@pytest.mark.parametrize(
    ("record", "skip"),
    [
        (asked(ONE, body=b"not json"), Skip.MALFORMED_COMMAND),
        (asked(ONE, body=b'{"program_id": 7}'), Skip.MALFORMED_COMMAND),
        (asked("", program="x"), Skip.MALFORMED_COMMAND),
        (asked(ONE, accepted_at="0001-01-01T00:00:00+23:00"), Skip.MALFORMED_COMMAND),
        (asked(ONE, parameters={"deep": json.loads("[" * 400 + "]" * 400)}), Skip.MALFORMED_COMMAND),
        (asked(ONE, key="cancel"), Skip.FOREIGN),
        # What only a runner may say, where anybody may write.
        (replace(START, source=Source.COMMANDS), Skip.FOREIGN),
        (report(ONE, asked(ONE).message.body, key="execute.default"), Skip.FOREIGN),
        (told(Queued(execution_id=ONE, program_id="prog")), Skip.FOREIGN),
        (told(running(ONE), key="execution.completed.prog"), Skip.WRONG_KEY),
        (told(running(ONE), key="execution.running.other"), Skip.WRONG_KEY),
        (start_with(START.message.body, b"\xff"), Skip.MALFORMED_EVENT),
        (start_with(b'"attempt":1', b'"attempt":99999999999999999999'), Skip.MALFORMED_EVENT),
        (start_with(b"2024-01-02T12:00:00Z", b"0001-01-01T00:00:00+23:00"), Skip.MALFORMED_EVENT),
    ],
)
def test_what_can_not_be_understood_is_skipped_and_counted(record: Record, skip: Skip) -> None:
    folded = apply(record)

    assert folded.skipped == Counter({skip: 1})
    assert not folded.rows
    assert not folded.transitions


IDS = [uid(number) for number in range(3)]


def _records_of(execution_id: str) -> list[Record]:
    return [
        asked(execution_id, reply_to="reply.q"),
        asked(execution_id, program="other"),
        progressed(execution_id, 2),
        progressed(execution_id, 1),
        told(running(execution_id, program="canonical")),
        told(running(execution_id, runner_id="r2")),
        told(ended(execution_id, Status.COMPLETED)),
        told(ended(execution_id, Status.TIMEOUT)),
        told(ended(execution_id, Status.CANCELLED, exit_code=None)),
    ]


LOGS = st.lists(st.sampled_from([record for execution_id in IDS for record in _records_of(execution_id)]), max_size=40)


def _in_batches(log: list[Record], cuts: list[int]) -> tuple[dict[str, Execution], list[Transition], Counter[Skip]]:
    rows: dict[str, Execution] = {}
    transitions: list[Transition] = []
    skipped: Counter[Skip] = Counter()
    edges = [0, *sorted(cut for cut in cuts if cut < len(log)), len(log)]
    for start, stop in pairwise(edges):
        entries, unread = understand_all(log[start:stop])
        folded = fold(rows, [entry for entry in entries if not isinstance(entry, Cleaned)])
        rows.update(folded.rows)
        transitions += folded.transitions
        skipped += unread + folded.skipped
    return rows, transitions, skipped


@given(LOGS, st.lists(st.integers(0, 39), max_size=8))
def test_a_log_may_be_cut_into_batches_anywhere(log: list[Record], cuts: list[int]) -> None:
    log = numbered(*log)

    assert _in_batches(log, cuts) == _in_batches(log, [])


@given(LOGS)
def test_whatever_comes_a_status_only_moves_forward_and_ends_at_most_once(log: list[Record]) -> None:
    """E6"""
    log = numbered(*log)
    rows, transitions, skipped = _in_batches(log, [])

    for execution_id in IDS:
        mine = [transition for transition in transitions if transition.execution_id == execution_id]
        facts = [transition.event.data for transition in mine if not isinstance(transition.event, LateResultEvent)]
        # A step leaves the status at queued, and is told in between only.
        reached = [Status.QUEUED if isinstance(fact, Progress) else fact.status for fact in facts]
        changes = [fact.status.rank for fact in facts if not isinstance(fact, Progress)]
        assert changes == sorted(set(changes))
        assert reached == sorted(reached, key=lambda status: status.rank)
        assert [transition.previous for transition in mine] == [None, *reached][: len(mine)]
        endings = [record for record in log if record.message.id == f"{execution_id}:end"]
        assert sum(transition.is_terminal for transition in mine) == bool(endings)
        if endings:
            # The first ending of the log is the one that counts.
            assert mine[-1].event.to_bytes() == endings[0].message.body
            assert rows[execution_id].status is reached[-1]
    assert len({transition.offset for transition in transitions}) == len(transitions)
    queued = {transition.execution_id for transition in transitions if isinstance(transition.event.data, Queued)}
    late = {execution_id for execution_id, row in rows.items() if row.digest is not None} - queued
    # Every record is a transition, the late filling of a row, or counted.
    assert len(transitions) + len(late) + skipped.total() == len(log)


def test_r12_a_step_towards_the_start_is_shown_and_announced_and_changes_no_status() -> None:
    folded = apply(asked(ONE), progressed(ONE, 1), progressed(ONE, 2, percent=45))

    assert (folded.rows[ONE].status, folded.rows[ONE].progress) == (Status.QUEUED, "Pulling image img (45 %)")
    assert [transition.event.routing_key for transition in folded.transitions] == [
        "execution.queued.prog",
        "execution.progress.prog",
        "execution.progress.prog",
    ]
    assert [(transition.offset, transition.previous) for transition in folded.transitions[1:]] == [
        (1, Status.QUEUED),
        (2, Status.QUEUED),
    ]
    assert not any(transition.is_terminal for transition in folded.transitions)


@pytest.mark.parametrize("fact", [running(ONE), ended(ONE, Status.FAILED)])
def test_what_has_started_or_ended_is_prepared_no_more(fact: Running | Ended) -> None:
    folded = apply(asked(ONE), progressed(ONE, 1), told(fact), progressed(ONE, 2))

    assert (folded.rows[ONE].status, folded.rows[ONE].progress) == (fact.status, None)
    assert folded.skipped == Counter({Skip.DUPLICATE: 1})
    assert len(folded.transitions) == 3


def test_steps_that_come_again_or_out_of_order_are_no_news() -> None:
    folded = apply(asked(ONE), progressed(ONE, 2, message="later"), progressed(ONE, 2, message="later"), progressed(ONE, 1))

    assert folded.rows[ONE].progress == "later"
    assert folded.skipped == Counter({Skip.DUPLICATE: 2})


def test_a_step_of_what_nobody_asked_for_makes_no_execution() -> None:
    folded = apply(progressed(ONE), asked(ONE))

    assert statuses(folded) == [Status.QUEUED]
    assert len(folded.transitions) == 1
    assert folded.skipped == Counter({Skip.UNASKED: 1})


def test_a_step_under_another_key_or_none_at_all_is_skipped() -> None:
    folded = apply(
        asked(ONE), progressed(ONE, key="execution.progress.other"), report("x", b"no json", key="execution.progress.prog")
    )

    assert folded.skipped == Counter({Skip.WRONG_KEY: 1, Skip.MALFORMED_EVENT: 1})


def test_a_step_names_the_program_canonically() -> None:
    folded = apply(asked(ONE, program="key"), progressed(ONE, program="canonical"))

    assert folded.rows[ONE].program_id == "canonical"
    assert isinstance(folded.transitions[-1].event, ProgressEvent)


def test_a_late_result_is_told_and_changes_nothing_and_no_reply_comes_of_it() -> None:
    folded = apply(asked(ONE, reply_to="reply.x"), told(ended(ONE, Status.FAILED)), late(ONE, outcome=Status.COMPLETED))
    without = apply(asked(ONE, reply_to="reply.x"), told(ended(ONE, Status.FAILED)))
    assert folded.rows == without.rows
    *_, ending, after = folded.transitions
    assert (ending.is_terminal, ending.reply_to) == (True, "reply.x")
    assert (after.is_terminal, after.reply_to, after.event.id) == (False, None, f"{ONE}:1:late")
    assert after.event.routing_key == "execution.late_result.prog"


def test_a_late_result_of_what_nobody_asked_for_or_under_another_key_is_skipped() -> None:
    assert apply(late(ONE)).skipped == {Skip.UNASKED: 1}
    for record, why in (
        (late(ONE, key="execution.late_result.other"), Skip.WRONG_KEY),
        (report("x", b"{}", key="execution.late_result.prog"), Skip.MALFORMED_EVENT),
    ):
        assert apply(asked(ONE), record).skipped == {why: 1}
