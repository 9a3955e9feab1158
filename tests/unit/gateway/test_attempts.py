"""M8: what HTTP shows of an execution that was tried more than once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from schemas.executions import Attempt, Execution
from schemas.ids import new_execution_id
from schemas.output import Output
from schemas.reasons import Reason
from schemas.status import Status
from tests.support.gateway_fakes import Client, World

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
FIRST = Attempt(
    number=1,
    status=Status.TIMEOUT,
    started_at=NOON,
    ended_at=NOON + timedelta(seconds=30),
    retry_at=NOON + timedelta(seconds=40),
    max_attempts=3,
    runner_id="r1",
    exit_code=143,
    reason=Reason.TIMEOUT,
    message="Execution exceeded time limit",
)
WAITS = Execution(
    execution_id=new_execution_id(),
    program_id="example_script",
    status=Status.QUEUED,
    attempt=2,
    earlier=(FIRST,),
    retry_at=FIRST.retry_at,
    accepted_at=NOON,
)
DONE = replace(
    WAITS, status=Status.COMPLETED, retry_at=None, output_attempt=2, started_at=NOON, ended_at=NOON, exit_code=0, runner_id="r2"
)


async def test_m8_the_record_lists_the_attempts_before_the_one_it_is_about(client: Client, world: World) -> None:
    await world.view.put(WAITS)
    record = await (await client.get(f"/executions/{WAITS.execution_id}")).json()
    assert (record["status"], record["attempt"], record["retry_time"]) == ("queued", 2, "2026-01-02T12:00:40+00:00")
    assert (record["start_time"], record["exit_code"], record["reason"]) == (None, None, None)
    assert record["attempts"] == [
        {
            "attempt": 1,
            "status": "timeout",
            "start_time": "2026-01-02T12:00:00+00:00",
            "end_time": "2026-01-02T12:00:30+00:00",
            "exit_code": 143,
            "reason": "timeout",
            "message": "Execution exceeded time limit",
            "runner_id": "r1",
        }
    ]


async def test_m8_the_logs_of_an_earlier_attempt_can_be_read(client: Client, world: World) -> None:
    await world.view.put(DONE, Output(stdout=b"second\n", complete=True))
    world.view.outputs[f"{DONE.execution_id}.1"] = Output(stdout=b"first\n", complete=True)

    shown = {}
    for query in ("", "?attempt=1", "?attempt=2"):
        shown[query] = await (await client.get(f"/executions/{DONE.execution_id}/logs{query}")).json()
    assert shown[""] == shown["?attempt=2"]
    assert (shown[""]["output"], shown[""]["status"]) == ("second\n", "completed")
    first = shown["?attempt=1"]
    assert (first["output"], first["error"]) == ("first\n", "Execution exceeded time limit")
    assert (first["status"], first["duration_seconds"]) == ("timeout", 30.0)


@pytest.mark.parametrize("number", ["0", "3", "-1", "01", "one", "", "100", "٢"])
async def test_m8_an_attempt_that_there_was_not_is_422(client: Client, world: World, number: str) -> None:
    await world.view.put(DONE)
    answer = await client.get(f"/executions/{DONE.execution_id}/logs", params={"attempt": number})
    assert (answer.status, (await answer.json())["type"]) == (422, "/problems/invalid-request")
