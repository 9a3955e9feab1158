"""POST /execute: what is accepted, what is refused, and what is said when nobody knows."""

import asyncio
import json
import time
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from bus.errors import BusClosed, BusUnavailable, UnknownPool
from gateway.overlay import Overlay
from schemas.commands import parse_execute
from schemas.executions import Execution
from schemas.ids import is_execution_id
from schemas.status import Status
from tests.support.gateway_fakes import USERNAME, Client, World, catalogue, client_of, program
from tests.support.wait import eventually


@pytest.mark.parametrize("path", ["/execute", "/executions"])
async def test_e1_e2_an_accepted_execution_is_answered_in_the_seeds_words(client: Client, world: World, path: str) -> None:
    response = await client.post(path, json={"program_id": "billing", "parameters": {"n": 1}})

    assert response.status == 202
    body = await response.json()
    assert set(body) == {"execution_id", "program_id", "status", "message", "timestamp"}
    assert UUID(body["execution_id"]).version == 7
    assert (body["program_id"], body["status"]) == ("billing", "queued")
    assert body["message"] == "Program 'billing' queued for execution"
    assert body["timestamp"].endswith("+00:00")
    assert response.headers["Location"] == f"/executions/{body['execution_id']}"
    [(pool, message)] = world.commands.accepted
    assert (pool, message.id) == ("slow", body["execution_id"])
    assert message.timestamp is not None
    assert message.timestamp.isoformat() == body["timestamp"]


async def test_p5_the_command_names_the_program_by_its_canonical_id(client: Client, world: World) -> None:
    await client.post("/execute", json={"program_id": "billing", "parameters": {"a": [1, None, "ñ"]}})

    [(_, message)] = world.commands.accepted
    execution_id, command = parse_execute(message.id, message.body)
    assert execution_id == message.id
    assert command.program_id == "7"
    assert command.parameters == {"a": [1, None, "ñ"]}
    assert command.submitted_by == USERNAME
    assert command.accepted_at == message.timestamp


async def test_a9_unknown_fields_are_ignored(client: Client, world: World) -> None:
    response = await client.post("/execute", json={"program_id": "example_script", "colour": "red"})

    assert response.status == 202


async def test_e3_an_unknown_program_is_404_and_a_disabled_one_400(client: Client, world: World) -> None:
    unknown = await client.post("/execute", json={"program_id": "nope"})
    disabled = await client.post("/execute", json={"program_id": "off"})

    assert (unknown.status, (await unknown.json())["detail"]) == (404, "Program with ID 'nope' not found")
    assert (disabled.status, (await disabled.json())["detail"]) == (400, "Program 'off' is disabled")
    assert (await unknown.json())["type"] == "/problems/program-not-found"
    assert world.commands.accepted == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"program_id": 7}',
        b'{"program_id": ""}',
        b'{"program_id": "example_script", "parameters": []}',
        b'{"program_id": "example_script", "parameters": null}',
        b'{"program_id": "example_script", "parameters": {"x": NaN}}',
        b'{"program_id": "example_script", "parameters": {"x": 1e999}}',
        b'{"program_id": "example_script", "parameters": {"x": "\\ud800"}}',
        b'{"program_id": "\\ud800"}',
        b'{"program_id": "example_script", "parameters": {"x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}}",
        b'{"program_id": "example_script", "parameters": {"x": ' + b"[" * 400 + b"]" * 400 + b"}}",
        b'{"program_id": "example_script", "parameters": {"x": ' + b"9" * 5_000 + b"}}",
        b'{"program_id": "example_script", "parameters": {"x": [' + b",".join([b"1e15"] * 12_000) + b"]}}",
        b"\xff\xfe{}",
        "\ufeff{}".encode(),
    ],
    ids=lambda body: body[:60].decode("latin-1") + f" ({len(body)} bytes)",
)
async def test_a9_e4_a_body_of_another_shape_is_422_with_its_errors(client: Client, world: World, body: bytes) -> None:
    response = await client.post("/execute", data=body, headers={"Content-Type": "application/json"})

    problem = await response.json()
    assert response.status == 422
    assert problem["errors"]
    assert all(set(error) == {"loc", "msg", "type"} and error["loc"][0] == "body" for error in problem["errors"])
    assert world.commands.accepted == []


async def test_validation_errors_name_the_field_and_never_repeat_the_input(client: Client) -> None:
    response = await client.post("/execute", json={"program_id": ["canary-secret"], "parameters": "canary-secret"})

    text = await response.text()
    assert [error["loc"] for error in json.loads(text)["errors"]] == [["body", "program_id"], ["body", "parameters"]]
    assert "canary-secret" not in text


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_what_is_not_declared_as_plain_json_is_415(client: Client, world: World, headers: dict[str, str]) -> None:
    response = await client.post("/execute", data=b'{"program_id": "example_script"}', headers=headers)

    assert response.status == 415
    assert world.commands.accepted == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_fault31_m27_a_body_over_the_limit_is_413_also_when_its_length_is_not_told(client: Client, chunked: bool) -> None:
    body = json.dumps({"program_id": "example_script", "parameters": {"x": "y" * 70_000}}).encode()

    async def pieces() -> object:
        for start in range(0, len(body), 8192):
            yield body[start : start + 8192]

    response = await client.post("/execute", data=pieces() if chunked else body, headers={"Content-Type": "application/json"})

    assert response.status == 413
    assert "65536 bytes" in (await response.json())["detail"]


async def test_m27_a_full_queue_is_429_and_nothing_is_accepted(client: Client, world: World) -> None:
    world.commands.queue_lengths["default"] = world.queue_length

    response = await client.post("/execute", json={"program_id": "example_script"})
    other_pool = await client.post("/execute", json={"program_id": "billing"})

    assert response.status == 429
    assert int(response.headers["Retry-After"]) > 0
    assert "Nothing was accepted" in (await response.json())["detail"]
    assert other_pool.status == 202
    assert len(world.commands.accepted) == 1


async def test_fault21_m27_without_room_on_the_disk_it_is_503_and_what_was_accepted_can_be_cancelled(
    client: Client, world: World
) -> None:
    before = (await (await client.post("/execute", json={"program_id": "example_script"})).json())["execution_id"]
    world.room.problem = "the disk of /some/where has 1 MiB free"

    response = await client.post("/execute", json={"program_id": "example_script"})
    cancel = await client.post(f"/executions/{before}/cancel")

    assert response.status == 503
    assert int(response.headers["Retry-After"]) > 0
    assert (await response.json())["type"] == "/problems/disk-full"
    assert "/some/where" not in await response.text()
    assert cancel.status == 202
    assert len(world.commands.accepted) == 1


@pytest.mark.parametrize("error", [BusUnavailable("away"), BusClosed("closed")], ids=repr)
@pytest.mark.parametrize("where", ["waiting_error", "accept_error"])
async def test_n10_a_bus_that_is_away_is_503_and_nothing_is_accepted(
    client: Client, world: World, where: str, error: Exception
) -> None:
    setattr(world.commands, where, error)

    response = await client.post("/execute", json={"program_id": "example_script"})

    problem = await response.json()
    assert response.status == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "Location" not in response.headers
    assert "outcome" not in problem
    assert len(world.overlay) == 0


async def test_a_bus_that_may_have_taken_it_is_503_with_the_place_to_look(client: Client, world: World) -> None:
    world.commands.accept_error = BusUnavailable("no confirm", outcome_unknown=True)

    response = await client.post("/execute", json={"program_id": "example_script"})

    problem = await response.json()
    assert response.status == 503
    assert int(response.headers["Retry-After"]) > 0
    assert problem["outcome"] == "unknown"
    assert response.headers["Location"] == f"/executions/{problem['execution_id']}"
    assert is_execution_id(problem["execution_id"])
    assert len(world.overlay) == 0


async def test_a_bus_that_does_not_answer_is_503_within_the_limit(world: World) -> None:
    world.accept_limit_seconds = 0.05
    world.commands.may_confirm.clear()
    async with client_of(world.app()) as client:
        started_at = time.monotonic()
        response = await client.post("/execute", json={"program_id": "example_script"})
        problem = await response.json()

    assert (response.status, problem["outcome"]) == (503, "unknown")
    assert time.monotonic() - started_at < 2


@pytest.mark.parametrize("where", ["waiting_error", "accept_error"])
async def test_a_pool_without_a_queue_is_422(client: Client, world: World, where: str) -> None:
    setattr(world.commands, where, UnknownPool("slow"))

    response = await client.post("/execute", json={"program_id": "billing"})

    assert (response.status, (await response.json())["type"]) == (422, "/problems/unknown-pool")


async def test_more_unseen_executions_than_the_overlay_holds_are_503(world: World) -> None:
    world.overlay = Overlay(max_executions=2)
    async with client_of(world.app()) as client:
        statuses = [(await client.post("/execute", json={"program_id": "example_script"})).status for _ in range(3)]

    assert statuses == [202, 202, 503]
    assert len(world.commands.accepted) == 2


async def test_a_caller_that_leaves_does_not_leave_a_publish_half_done(client: Client, world: World) -> None:
    world.commands.may_confirm.clear()
    request = asyncio.create_task(client.post("/execute", json={"program_id": "example_script"}))
    await asyncio.wait_for(world.commands.publishing.wait(), 5)

    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    world.commands.may_confirm.set()

    async def accepted() -> int:
        return len(world.commands.accepted) and len(world.overlay)

    await eventually(accepted, within_seconds=20)


async def test_stopping_waits_for_the_publishes_whose_callers_left(world: World) -> None:
    world.commands.may_confirm.clear()
    async with client_of(world.app()) as client:
        request = asyncio.create_task(client.post("/execute", json={"program_id": "example_script"}))
        await asyncio.wait_for(world.commands.publishing.wait(), 5)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        asyncio.get_running_loop().call_later(0.05, world.commands.may_confirm.set)

    assert len(world.commands.accepted) == 1


async def test_m4_wait_answers_with_the_record_as_soon_as_the_end_is_seen(client: Client, world: World) -> None:
    request = asyncio.create_task(client.post("/execute?wait=30", json={"program_id": "example_script"}))

    async def waits() -> bool:
        return bool(world.view.waited_for)

    await eventually(waits)
    execution = await world.follow(status=Status.COMPLETED, exit_code=0)
    response = await request

    record = await response.json()
    assert response.status == 200
    assert (record["execution_id"], record["status"], record["exit_code"]) == (execution.execution_id, "completed", 0)


async def test_m4_wait_answers_202_when_its_time_is_over(client: Client, world: World) -> None:
    response = await client.post("/execute?wait=0.05", json={"program_id": "example_script"})

    assert response.status == 202
    assert "Location" in response.headers
    assert world.view.waited_for == set()


async def test_a_view_that_fails_during_the_wait_does_not_unsay_the_acceptance(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(execution_id: str, timeout_seconds: float) -> bool:
        raise OSError("the disk is gone")

    monkeypatch.setattr(world.view, "wait", fail)

    response = await client.post("/execute?wait=5", json={"program_id": "example_script"})

    assert response.status == 202


@pytest.mark.parametrize("wait", ["", "-1", "301", "1e2", "nan", "inf", "abc", "1_0", "%D9%A3", "5&wait=6", "300.5"])
async def test_m4_a_wait_that_is_no_number_of_seconds_is_422(client: Client, world: World, wait: str) -> None:
    response = await client.post(f"/execute?wait={wait}", json={"program_id": "example_script"})

    assert response.status == 422
    assert (await response.json())["errors"][0]["loc"] == ["query", "wait"]
    assert world.commands.accepted == []


async def test_r20_the_log_has_the_parameters_and_no_secret(client: Client, world: World) -> None:
    secretive = program("secretive", parameters="--mode fast --db-password hunter2")
    world.catalogues.current = type(world.catalogues.current)(
        programs=(secretive,), settings=world.catalogues.current.settings, project_dir=world.catalogues.current.project_dir
    )
    with capture_logs() as lines:
        await client.post("/execute", json={"program_id": "secretive", "parameters": {"API_KEY": "hunter3"}})

    [line] = [line for line in lines if line.get("action") == "program_parameters"]
    assert line["event"] == 'Program parameters: --mode fast --db-password ***; from the request: ["API_KEY"]'
    assert line["log_level"] == "info"
    assert "hunter" not in repr(lines)


async def test_r19_a_program_that_rejects_on_limit_is_refused_with_the_seeds_message_while_all_slots_are_taken(
    client: Client, world: World
) -> None:
    programs = (program("picky", on_limit="reject"), program("patient"))
    world.catalogues.current = catalogue(*programs, max_concurrent_executions=2)
    for _ in range(2):
        assert (await client.post("/execute", json={"program_id": "picky"})).status == 202

    refused = await client.post("/execute", json={"program_id": "picky"})

    assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
    message = "Maximum concurrent executions (2) reached. Please wait for some executions to complete."
    assert (await refused.json())["detail"] == message
    # Who is patient waits in the queue, as is the default.
    assert (await client.post("/execute", json={"program_id": "patient"})).status == 202
    assert len(world.commands.accepted) == 3
    # Once executions have ended, there is room again.
    for _, command in world.commands.accepted:
        execution_id = str(command.id)
        await world.view.put(Execution(execution_id=execution_id, program_id="picky", status=Status.COMPLETED))
    assert (await client.post("/execute", json={"program_id": "picky"})).status == 202


async def test_r19_the_slots_of_all_runners_that_live_count(client: Client, world: World) -> None:
    world.catalogues.current = catalogue(program("picky", on_limit="reject"), max_concurrent_executions=1)
    world.fleet.limits = {"one": 1, "two": 1}

    statuses = [(await client.post("/execute", json={"program_id": "picky"})).status for _ in range(3)]

    assert statuses == [202, 202, 429]


async def test_r19_the_settings_may_reject_for_all_programs_and_a_program_may_queue_all_the_same(
    client: Client, world: World
) -> None:
    programs = (program("plain"), program("patient", on_limit="queue"))
    world.catalogues.current = catalogue(*programs, max_concurrent_executions=1, on_limit="reject")

    assert (await client.post("/execute", json={"program_id": "plain"})).status == 202
    assert (await client.post("/execute", json={"program_id": "plain"})).status == 429
    assert (await client.post("/execute", json={"program_id": "patient"})).status == 202
