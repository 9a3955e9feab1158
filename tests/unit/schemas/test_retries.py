"""M8: what is tried again, how often and when."""

from datetime import timedelta

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.attempts import ending_event
from schemas.catalogue import Catalogue
from schemas.events import AttemptEndedEvent, ExecutionEvent, parse_attempt_ended
from schemas.reasons import Reason
from schemas.retries import FINAL_REASONS, MOST_RETRIES, NEVER, Retry, RetryOn, RetryPolicy
from schemas.settings import ProgramSettings
from schemas.status import Status
from tests.support.records import ended, uid
from tests.support.runner_fixtures import make_program

POLICY: TypeAdapter[Retry] = TypeAdapter(RetryPolicy)
ONE = uid(1)


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        (3, Retry(max=3)),
        ("3", Retry(max=3)),
        (0, NEVER),
        ({"max": 2, "backoff": "2s", "max_backoff": "5m"}, Retry(max=2, backoff=2.0, max_backoff=300.0)),
        ({"max": 1, "on": ["timeout"]}, Retry(max=1, on=frozenset({RetryOn.TIMEOUT}))),
        ({"max": 1, "on": "runner_lost"}, Retry(max=1, on=frozenset({RetryOn.RUNNER_LOST}))),
    ],
)
def test_m8_a_policy_is_a_table_or_a_number(written: object, policy: Retry) -> None:
    assert POLICY.validate_python(written) == policy


@pytest.mark.parametrize(
    "written",
    [True, -1, MOST_RETRIES + 1, "often", {}, {"max": 1, "on": []}, {"max": 1, "on": ["completed"]}, {"max": 1, "x": 1}],
)
def test_m8_what_is_no_policy_is_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        POLICY.validate_python(written)


def test_m8_a_programs_own_policy_wins_over_the_one_in_settings() -> None:
    programs = (make_program("own", retry=1), make_program("none", retry=0), make_program("other"))
    catalogue = Catalogue(programs, ProgramSettings.model_validate({"retry": 5}), project_dir=None)  # type: ignore[arg-type]

    assert [catalogue.retry_of(name).max for name in ("own", "none", "other", "unknown")] == [1, 0, 5, 0]


@pytest.mark.parametrize(
    ("status", "reason", "cause"),
    [
        (Status.FAILED, Reason.EXIT_CODE, RetryOn.FAILED),
        (Status.FAILED, Reason.OUT_OF_MEMORY, RetryOn.FAILED),
        (Status.FAILED, Reason.IMAGE_PULL_FAILED, RetryOn.FAILED),
        (Status.FAILED, None, RetryOn.FAILED),
        (Status.TIMEOUT, Reason.TIMEOUT, RetryOn.TIMEOUT),
        (Status.FAILED, Reason.RUNNER_LOST, RetryOn.RUNNER_LOST),
        (Status.FAILED, Reason.RUNNER_RESTARTED, RetryOn.RUNNER_LOST),
    ],
)
def test_m8_an_ending_is_tried_again_for_its_own_cause_alone(status: Status, reason: Reason | None, cause: RetryOn) -> None:
    for on in RetryOn:
        assert Retry(max=1, on=frozenset({on})).follows(1, status, reason) is (on is cause)


@pytest.mark.parametrize("reason", sorted(FINAL_REASONS))
def test_m8_what_another_attempt_can_not_change_is_never_tried_again(reason: Reason) -> None:
    assert not Retry(max=MOST_RETRIES).follows(1, Status.FAILED, reason)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.CANCELLED])
def test_m8_what_completed_or_was_cancelled_is_never_tried_again(status: Status) -> None:
    assert not Retry(max=MOST_RETRIES).follows(1, status, None)


def test_m8_there_are_as_many_attempts_as_declared_beyond_the_first() -> None:
    assert [Retry(max=2).follows(attempt, Status.FAILED, Reason.EXIT_CODE) for attempt in (1, 2, 3)] == [True, True, False]
    assert not NEVER.follows(1, Status.FAILED, Reason.EXIT_CODE)


def test_m8_each_pause_is_twice_the_one_before_up_to_its_bound() -> None:
    retry = Retry(max=5, backoff=2.0, max_backoff=10.0)

    assert [retry.pause_seconds(attempt, 1.0) for attempt in range(1, 6)] == [2, 4, 8, 10, 10]
    assert [retry.pause_seconds(attempt, 0.0) for attempt in range(1, 6)] == [1, 2, 4, 5, 5]


@given(st.floats(0.001, 1e6), st.floats(0.001, 1e6), st.integers(1, MOST_RETRIES), st.floats(0, 1, exclude_max=True))
def test_m8_no_pause_is_longer_than_its_bound_nor_shorter_than_half_of_what_it_should_be(
    backoff: float, most: float, attempt: int, draw: float
) -> None:
    pause = Retry(max=1, backoff=backoff, max_backoff=most).pause_seconds(attempt, draw)

    assert min(backoff, most) / 2 <= pause <= most


@given(st.builds(Retry, max=st.integers(0, 20), on=st.frozensets(st.sampled_from(RetryOn), min_size=1)))
def test_m8_a_policy_is_shown_as_it_may_be_written(retry: Retry) -> None:
    assert POLICY.validate_python(yaml.safe_load(retry.as_written.replace("on:", "'on':"))) == retry


def test_m8_the_end_of_an_attempt_carries_what_the_end_of_an_execution_does_and_when_the_next_one_is_due() -> None:
    fact = ended(ONE, Status.FAILED, exit_code=3, message="Program exited with code 3", digest="d", runner_id="r1")
    event = ending_event(fact, Retry(max=2, backoff=4.0), source="/runner/r1", draw=0.5)

    assert isinstance(event, AttemptEndedEvent)
    assert (event.id, event.routing_key) == (f"{ONE}:1:attempt_ended", "execution.attempt_ended.prog")
    assert event.type == "io.pyexecutorhub.execution.attempt_ended.v1"
    assert (event.data.retry_at, event.data.max_attempts) == (fact.ended_at + timedelta(seconds=3), 3)
    assert {**dict(event.data)} == {**dict(fact), "retry_at": event.data.retry_at, "max_attempts": 3}
    assert parse_attempt_ended(event.to_bytes()) == event


def test_m8_the_last_attempt_ends_the_execution() -> None:
    fact = ended(ONE, Status.FAILED, attempt=3)
    event = ending_event(fact, Retry(max=2), source="/hub", draw=0.0)

    assert event == ExecutionEvent.of(fact, source="/hub")
