"""M8: what a runner makes of attempts, on a bus in memory and a fake engine."""

import json
from pathlib import Path
from typing import Any

import pytest

from bus.messages import CANCELLED, End, Message
from schemas.events import Running
from schemas.ids import new_execution_id
from schemas.reasons import Reason
from schemas.status import Status
from tests.support.runner_fixtures import Hub, make_hub, make_program
from tests.support.wait import eventually


async def retry(hub: Hub, execution_id: str, attempt: int, **parameters: Any) -> None:
    """Queue a further attempt, as the holder does."""
    body = {"program_id": "example", "parameters": parameters, "attempt": attempt, "digest": "as before"}
    await hub.bus.commands.retry("default", Message(id=execution_id, body=json.dumps(body).encode()))


async def attempts(hub: Hub, execution_id: str, count: int) -> None:
    async def look() -> int:
        return len(hub.attempts_ended(execution_id))

    await eventually(look, lambda seen: seen >= count)


async def test_m8_an_attempt_that_failed_with_attempts_left_is_no_terminal_and_the_last_one_is(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, make_program(retry={"max": 1, "backoff": "4s"}))
    async with hub.runner():
        execution_id = await hub.submit(exit_code=3, stdout="one")
        await attempts(hub, execution_id, 1)
        await retry(hub, execution_id, 2, exit_code=4, stdout="two")
        ended = await hub.ended(execution_id)

    (first,) = hub.attempts_ended(execution_id)
    assert (first.attempt, first.status, first.exit_code, first.reason) == (1, Status.FAILED, 3, Reason.EXIT_CODE)
    assert (first.stdout.content, first.max_attempts, first.runner_id) == ("one", 2, "test-runner")
    assert 2 <= (first.retry_at - first.ended_at).total_seconds() <= 4
    assert (ended.attempt, ended.status, ended.exit_code, ended.stdout.content) == (2, Status.FAILED, 4, "two")
    assert ended.digest == "as before"
    starts = [event for event in hub.events(execution_id) if isinstance(event, Running)]
    assert [start.attempt for start in starts] == [1, 2]
    assert hub.fake.containers == frozenset()
    async with hub.journal() as journal:
        assert await journal.claims() == []


async def test_m8_a_further_attempt_has_a_container_of_its_own_and_hears_its_number(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, make_program(retry=3))
    async with hub.runner():
        execution_id = new_execution_id()
        await retry(hub, execution_id, 3, sleep=60)
        started = await hub.is_running(execution_id)
        assert started.attempt == 3
        assert hub.fake.containers == frozenset({f"{execution_id}.3"})
        await hub.fake.stop(f"{execution_id}.3", 1)
        await attempts(hub, execution_id, 1)
    assert [attempt.attempt for attempt in hub.attempts_ended(execution_id)] == [3]


async def test_m8_a_stranger_who_writes_an_attempt_into_a_command_makes_no_second_start(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, make_program(retry=3))
    async with hub.runner():
        execution_id = await hub.submit()
        await hub.ended(execution_id)
        for attempt in (2, 3):
            await hub.publish(execution_id, {"program_id": "example", "attempt": attempt})
        await hub.ended(await hub.submit())
    assert [event.attempt for event in hub.events(execution_id)] == [1, 1]
    claims = [claim for claim in hub.bus.decisions_.proposed if claim.execution_id == execution_id]
    assert {claim.attempt for claim in claims if not isinstance(claim, End)} == {1}


async def test_m8_an_attempt_that_is_queued_twice_is_started_once(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, make_program(retry=1))
    async with hub.runner():
        execution_id = new_execution_id()
        for _ in range(3):
            await retry(hub, execution_id, 2)
        await hub.ended(execution_id)
        await hub.ended(await hub.submit())
    assert [event.status for event in hub.events(execution_id)] == [Status.RUNNING, Status.COMPLETED]


async def test_m8_what_is_no_retry_is_dead_lettered(hub: Hub) -> None:
    async with hub.runner():
        await hub.bus.commands.retry("default", Message(id="x", body=b'{"program_id": "example", "attempt": 1}'))

        async def outcomes() -> list[str | None]:
            return [delivery.outcome for delivery in hub.bus.commands_.deliveries]

        await eventually(outcomes, lambda seen: seen == ["rejected"])


@pytest.mark.parametrize(
    ("fields", "parameters", "reason"),
    [
        ({"main_file": "../x"}, {}, Reason.INVALID_PATH),
        ({"enabled": False}, {}, Reason.DISABLED),
        ({"retry": {"max": 3, "on": ["timeout"]}}, {"exit_code": 1}, Reason.EXIT_CODE),
        ({"retry": 0}, {"exit_code": 1}, Reason.EXIT_CODE),
    ],
)
async def test_m8_what_another_attempt_is_not_to_follow_ends_at_once(
    tmp_path: Path, fields: dict[str, Any], parameters: dict[str, Any], reason: Reason
) -> None:
    hub = make_hub(tmp_path, make_program(**{"retry": 3, **fields}))
    async with hub.runner():
        execution_id = await hub.submit(**parameters)
        ended = await hub.ended(execution_id)
    assert (ended.status, ended.reason) == (Status.FAILED, reason)
    assert hub.attempts_ended(execution_id) == []


async def test_m8_m1_what_was_cancelled_is_not_tried_again(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, make_program(retry=3))
    async with hub.runner():
        execution_id = new_execution_id()
        await retry(hub, execution_id, 2, sleep=60)
        await hub.is_running(execution_id)
        await hub.bus.decisions.decide(End(execution_id=execution_id, reason=CANCELLED))
        ended = await hub.ended(execution_id)
    assert (ended.status, ended.attempt) == (Status.CANCELLED, 2)
    assert hub.attempts_ended(execution_id) == []


async def test_m8_a_runner_that_comes_back_ends_the_attempt_that_it_had(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, make_program(retry=3))
    execution_id = new_execution_id()
    async with hub.crashing_runner():
        await retry(hub, execution_id, 2, sleep=0.5, exit_code=5)
        await hub.is_running(execution_id)
    async with hub.runner():
        await attempts(hub, execution_id, 1)
    (ended,) = hub.attempts_ended(execution_id)
    assert (ended.attempt, ended.exit_code) == (2, 5)
    assert len({event.started_at for event in hub.events(execution_id) if isinstance(event, Running)}) == 1
