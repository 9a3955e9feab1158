"""M1: an execution is cancelled over HTTP."""

import asyncio
from dataclasses import replace

import pytest

from bus.errors import BusUnavailable
from bus.messages import Claim, Decision, End, Proposal
from schemas.executions import Execution
from schemas.ids import new_execution_id
from schemas.status import Status
from schemas.times import utc_now
from schemas.tokens import Scope
from tests.support.gateway_fakes import USERNAME, Client, World, client_of


async def show(world: World, status: Status, *, submitted_by: str | None = None) -> Execution:
    execution = Execution(
        execution_id=new_execution_id(),
        program_id="example_script",
        status=status,
        accepted_at=utc_now(),
        submitted_by=submitted_by,
    )
    await world.view.put(execution)
    return execution


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
async def test_m1_a_cancel_is_written_down_with_who_and_why_and_answered_202(
    client: Client, world: World, status: Status
) -> None:
    execution = await show(world, status)
    response = await client.post(f"/executions/{execution.execution_id}/cancel", json={"reason": "took too long"})
    body = await response.json()
    assert (response.status, body["execution_id"], body["status"]) == (202, execution.execution_id, status.value)
    end = End(execution_id=execution.execution_id, reason="cancelled", requested_by=USERNAME, why="took too long")
    assert world.decisions.proposed == [end]


async def test_m1_a_cancel_needs_no_body_and_may_be_repeated(client: Client, world: World) -> None:
    execution = await show(world, Status.RUNNING)
    path = f"/executions/{execution.execution_id}/cancel"
    assert [(await client.post(path)).status for _ in range(2)] == [202, 202]
    await world.view.put(replace(execution, status=Status.CANCELLED, message="Cancelled by tester42"))
    response = await client.post(path)
    body = await response.json()
    assert (response.status, body["status"], body["error"]) == (200, "cancelled", "Cancelled by tester42")
    assert len(world.decisions.made) == 1


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.TIMEOUT])
async def test_m1_what_has_ended_stays_as_it_ended_and_nothing_is_written(client: Client, world: World, status: Status) -> None:
    execution = await show(world, status)
    response = await client.post(f"/executions/{execution.execution_id}/cancel")
    assert (response.status, (await response.json())["status"]) == (200, status.value)
    assert world.decisions.proposed == []


async def test_m1_what_was_accepted_just_now_can_be_cancelled(client: Client, world: World) -> None:
    accepted = await (await client.post("/execute", json={"program_id": "example_script"})).json()
    response = await client.post(f"/executions/{accepted['execution_id']}/cancel")
    assert (response.status, (await response.json())["status"]) == (202, "queued")


async def test_m1_what_ends_meanwhile_is_told_as_it_ended(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await show(world, Status.RUNNING)

    async def decide(_proposal: Proposal) -> Decision:
        await world.view.put(replace(execution, status=Status.COMPLETED))
        return Claim(execution_id=execution.execution_id, attempt=1, epoch="e", nonce="n", digest="d")

    monkeypatch.setattr(world.decisions, "decide", decide)
    response = await client.post(f"/executions/{execution.execution_id}/cancel")
    assert (response.status, (await response.json())["status"]) == (200, "completed")


@pytest.mark.parametrize("name", ["0190a8b4-7c3e-7000-8000-0123456789ab", "nonsense"])
async def test_m1_an_unknown_execution_is_404_and_nothing_is_written(client: Client, world: World, name: str) -> None:
    assert (await client.post(f"/executions/{name}/cancel")).status == 404
    assert world.decisions.proposed == []


@pytest.mark.parametrize("body", [{"reason": "x" * 501}, {"reason": 7}, []])
async def test_m1_a_reason_that_is_none_is_422(client: Client, world: World, body: object) -> None:
    execution = await show(world, Status.RUNNING)
    assert (await client.post(f"/executions/{execution.execution_id}/cancel", json=body)).status == 422
    assert world.decisions.proposed == []


async def test_m1_while_the_bus_is_away_it_is_503_and_says_when_to_ask_again(client: Client, world: World) -> None:
    execution = await show(world, Status.RUNNING)
    world.decisions.errors = [BusUnavailable("away")]
    response = await client.post(f"/executions/{execution.execution_id}/cancel")
    assert (response.status, (await response.json())["type"]) == (503, "/problems/bus-unavailable")
    assert "Retry-After" in response.headers


@pytest.mark.parametrize("error", [None, BusUnavailable("perhaps", outcome_unknown=True)])
async def test_m1_a_cancel_that_is_not_confirmed_in_time_is_said_to_be_unknown(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    world.accept_limit_seconds = 0.1
    execution = await show(world, Status.RUNNING)

    async def decide(_proposal: Proposal) -> Decision:
        if error is not None:
            raise error
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(world.decisions, "decide", decide)
    async with client_of(world.app()) as client:
        response = await client.post(f"/executions/{execution.execution_id}/cancel")
        assert (response.status, (await response.json())["outcome"]) == (503, "unknown")


async def test_m1_m29_a_token_for_running_cancels_what_was_started_with_it_and_nothing_else(world: World) -> None:
    own = await show(world, Status.RUNNING, submitted_by="ada/nightly")
    other = await show(world, Status.RUNNING, submitted_by="ada")
    async with client_of(world.app(), token=world.api_tokens.issue(Scope.RUN, name="nightly", created_by="ada")) as client:
        assert (await client.post(f"/executions/{own.execution_id}/cancel")).status == 202
        refused = await client.post(f"/executions/{other.execution_id}/cancel")
        assert (refused.status, (await refused.json())["type"]) == (403, "/problems/not-yours")
    async with client_of(world.app(), token=world.api_tokens.issue(Scope.ALL)) as client:
        assert (await client.post(f"/executions/{other.execution_id}/cancel")).status == 202
    assert list(world.decisions.made) == [own.execution_id, other.execution_id]
