"""Records as pure translation, where a request would only get in the way."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.records import duration_seconds, logs_of, record_of, statistics_of
from schemas.executions import Execution, Statistics
from schemas.output import Output
from schemas.status import Status

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def execution(status: Status = Status.COMPLETED, **times: datetime) -> Execution:
    return Execution(
        execution_id="01890000-0000-7000-8000-000000000000",
        program_id="p",
        status=status,
        started_at=times.get("started_at"),
        ended_at=times.get("ended_at"),
    )


@pytest.mark.parametrize(
    ("content", "lines"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"a\r\nb\r\n", 2), (b"\xff\n\xff", 2)]
)
def test_e8_lines_are_counted_as_people_count_them(content: bytes, lines: int) -> None:
    logs = logs_of(execution(), Output(stdout=content, stderr=content), now=NOW)

    assert (logs["output_lines"], logs["error_lines"]) == (lines, lines)


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (Output(stdout=b"out"), "out"),
        (Output(before=b"[pip] six\n", stdout=b"out"), "[pip] six\nout"),
        (Output(before=b"[pip] six\n", stdout=b"out", after=b"[hub] bye\n"), "[pip] six\nout\n[hub] bye\n"),
        (Output(stdout=b"out\n", after=b"[hub] bye\n"), "out\n[hub] bye\n"),
        (Output(after=b"[hub] bye\n"), "[hub] bye\n"),
    ],
)
def test_lines_around_the_program_are_in_the_logs_alone_r4(output: Output, shown: str) -> None:
    logs = logs_of(execution(), output, now=NOW)

    assert (logs["output"], logs["output_lines"]) == (shown, len(shown.splitlines()))
    assert record_of(execution(), output)["output"] == output.stdout.decode()


def test_a_duration_is_never_negative_though_clocks_differ() -> None:
    assert duration_seconds(execution(Status.RUNNING, started_at=NOW + timedelta(seconds=3)), now=NOW) == 0


def test_what_was_never_started_has_no_duration() -> None:
    assert duration_seconds(execution(Status.FAILED, ended_at=NOW), now=NOW) is None


@pytest.mark.parametrize(
    ("stderr", "message", "error"),
    [(b"", None, ""), (b"", "why", "why"), (b"x", "why", "x\nwhy"), (b"x\n", "why", "x\nwhy"), (b"x", None, "x")],
)
def test_the_hubs_message_stands_on_a_line_of_its_own(stderr: bytes, message: str | None, error: str) -> None:
    ended = Execution(execution_id="x", program_id="p", status=Status.FAILED, message=message)

    assert record_of(ended, Output(stderr=stderr))["error"] == error


def test_what_was_cut_is_said() -> None:
    record = record_of(execution(), Output(stdout=b"x", stdout_truncated=True, complete=True))

    assert (record["output_truncated"], record["error_truncated"], record["output_complete"]) == (True, False, True)


@pytest.mark.parametrize("was_warm", [None, False, True])
def test_whether_a_container_waited_for_it_is_in_the_record(was_warm: bool | None) -> None:
    assert record_of(replace(execution(), was_warm=was_warm), Output())["was_warm"] is was_warm


def test_programs_that_have_none_are_not_listed() -> None:
    statistics = Statistics(by_status={Status.QUEUED: {"a": 0, "b": 2}}, recent=2)

    assert statistics_of(statistics, max_executions=1)["by_status"]["queued"] == [{"total": 2, "name": "b"}]
