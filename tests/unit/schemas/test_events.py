"""Events are CloudEvents that come back as they went, byte for byte in what they carry (E14)."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import MalformedEvent
from schemas.events import Ended, ExecutionEvent, Queued, Running, parse_event
from schemas.ids import new_execution_id
from schemas.output import StreamName, StreamSummary
from schemas.output_events import OutputChunk, OutputEvent, parse_output
from schemas.progress_events import Phase, Progress, ProgressEvent, parse_progress
from schemas.reasons import Reason
from schemas.status import Status
from schemas.times import utc_now

#: Fixed, because it is part of test names, which must be the same in every process.
ID = "01a20b12-570f-75f7-bb30-38423d5f30f6"


@pytest.mark.parametrize(
    ("fact", "event_id", "key"),
    [
        (Queued(execution_id=ID, program_id="a"), f"{ID}:1:0", "execution.queued.a"),
        (Running(execution_id=ID, program_id="a", started_at=utc_now(), runner_id="r"), f"{ID}:1:1", "execution.running.a"),
        (
            Ended(
                execution_id=ID, program_id="a", status=Status.FAILED, ended_at=utc_now(), exit_code=3, reason=Reason.EXIT_CODE
            ),
            f"{ID}:end",
            "execution.failed.a",
        ),
    ],
)
def test_an_event_comes_back_as_it_went(fact: Queued | Running | Ended, event_id: str, key: str) -> None:
    event = ExecutionEvent.of(fact, source="/runner/r")
    assert parse_event(event.to_bytes()) == event
    assert (event.id, event.routing_key, event.subject) == (event_id, key, ID)
    assert json.loads(event.to_bytes())["type"] == f"io.pyexecutorhub.execution.{fact.status.value}.v1"


def test_a_step_towards_a_start_comes_back_as_it_went_r12() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    step = Progress(execution_id=ID, program_id="a", phase=Phase.PULL, message="Pulling", percent=45, happened_at=moment)
    event = ProgressEvent.of(step, source="/runner/r")

    assert parse_progress(event.to_bytes()) == event
    assert (event.id, event.routing_key) == (f"{ID}:1:progress:1767323045678901", "execution.progress.a")
    assert json.loads(event.to_bytes())["type"] == "io.pyexecutorhub.execution.progress.v1"
    forged = json.loads(event.to_bytes()) | {"id": f"{ID}:1:progress:1"}
    with pytest.raises(MalformedEvent):
        parse_progress(json.dumps(forged).encode())


@given(st.binary(max_size=300))
def test_no_byte_of_output_is_changed_on_the_way(content: bytes) -> None:
    ended = Ended(
        execution_id=ID, program_id="a", status=Status.COMPLETED, ended_at=utc_now(), stdout=StreamSummary.inline(content)
    )
    back = parse_event(ExecutionEvent.of(ended, source="/runner/r").to_bytes()).data
    assert isinstance(back, Ended)
    assert back.stdout.content_bytes() == content
    chunk = OutputChunk.of(execution_id=ID, program_id="a", attempt=1, stream=StreamName.STDERR, sequence=4, content=content)
    event = OutputEvent.of(chunk, source="/runner/r")
    assert parse_output(event.to_bytes()).data.content_bytes() == content


def test_an_envelope_that_disagrees_with_its_data_is_refused() -> None:
    event = ExecutionEvent.of(Queued(execution_id=ID, program_id="a"), source="/hub")
    for field, value in {
        "subject": new_execution_id(),
        "id": f"{ID}:end",
        "type": "io.pyexecutorhub.execution.failed.v1",
    }.items():
        forged = json.loads(event.to_bytes()) | {field: value}
        with pytest.raises(MalformedEvent):
            parse_event(json.dumps(forged).encode())


@given(st.binary(max_size=200))
def test_no_record_whatever_raises_anything_but_malformed_event(body: bytes) -> None:
    for parse in (parse_event, parse_output, parse_progress):
        with pytest.raises(MalformedEvent):
            parse(body)


def test_a_status_moves_forward_only() -> None:
    allowed = {(old, new) for old in Status for new in Status if old.may_become(new)}
    assert (Status.QUEUED, Status.RUNNING) in allowed
    assert (Status.QUEUED, Status.FAILED) in allowed
    assert (Status.RUNNING, Status.TIMEOUT) in allowed
    assert not any(old.is_terminal for old, _ in allowed)
    assert not any(new is Status.QUEUED for _, new in allowed)
