"""M9: requests with an idempotency key."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bus.errors import BusUnavailable
from bus.messages import End
from gateway.errors import ViewUnavailable
from gateway.keyed_ids import HANDOVER, KEPT, IdempotencyKeys
from gateway.tokens import Tokens
from schemas.executions import Execution
from schemas.status import Status
from tests.support.gateway_fakes import SIGNING_KEY, USERNAME, Client, World, catalogue, client_of
from tests.support.wait import eventually

KEY = {"Idempotency-Key": "order-17"}
BODY: dict[str, Any] = {"program_id": "billing", "parameters": {"n": 1, "m": [2.5, None, "ñ"]}}


async def ask(client: Client, body: object = BODY, *, path: str = "/execute", **options: Any) -> tuple[int, Any, bool]:
    """Status, body, and whether the answer says that it repeats an earlier one."""
    response = await client.post(path, json=body, **({"headers": KEY} | options))
    return response.status, await response.json(), response.headers.get("Idempotency-Replayed") == "true"


async def test_m9_the_same_key_and_body_is_the_same_execution(client: Client, world: World) -> None:
    status, first, replayed = await ask(client)
    again = await ask(client)
    # The same program by its id, the same JSON in other words, the other path, the key in the body.
    other_words = {"parameters": {"m": [2.50, None, "\u00f1"], "n": 1}, "program_id": "7", "idempotency_key": "order-17"}
    reworded = await ask(client, other_words, path="/executions", headers={})

    assert (status, replayed) == (202, False)
    assert (again[0], again[2], again[1]) == (202, True, first)
    assert (reworded[0], reworded[2], reworded[1]["execution_id"]) == (202, True, first["execution_id"])
    assert len(world.commands.accepted) == 1


async def test_m9_a_hundred_requests_at_once_are_one_execution_and_one_publish(client: Client, world: World) -> None:
    world.commands.may_confirm.clear()
    asking = [asyncio.create_task(ask(client)) for _ in range(100)]
    await world.commands.publishing.wait()
    world.commands.may_confirm.set()
    answers = await asyncio.gather(*asking)

    assert {status for status, _, _ in answers} == {202}
    assert len({body["execution_id"] for _, body, _ in answers}) == 1
    assert sorted(replayed for _, _, replayed in answers) == [False] + [True] * 99
    assert len(world.commands.accepted) == 1


@pytest.mark.parametrize(
    "other",
    [BODY | {"parameters": {"n": 2}}, BODY | {"program_id": "example_script"}, {"program_id": "billing"}],
    ids=["parameters", "program", "no parameters"],
)
@pytest.mark.parametrize("where", ["overlay", "view", "removed"])
async def test_m9_the_same_key_with_another_body_is_422(client: Client, world: World, other: object, where: str) -> None:
    _, first, _ = await ask(client)
    if where != "overlay":
        await world.follow(status=Status.COMPLETED)
    if where == "removed":
        await client.delete("/executions/cleanup")

    status, problem, _ = await ask(client, other)

    assert (status, problem["type"]) == (422, "/problems/idempotency-key-reused")
    assert problem["execution_id"] == first["execution_id"]
    assert len(world.commands.accepted) == 1


async def test_m9_another_caller_with_the_same_key_gets_an_execution_of_its_own(client: Client, world: World) -> None:
    _, mine, _ = await ask(client)
    async with client_of(world.app(), token=Tokens(SIGNING_KEY).issue("somebody-else")) as other:
        status, theirs, replayed = await ask(other)

    assert (status, replayed) == (202, False)
    assert theirs["execution_id"] != mine["execution_id"]


async def test_m9_two_gateways_of_an_installation_name_the_same_execution(client: Client, world: World) -> None:
    _, here, _ = await ask(client)
    elsewhere = World(catalogues=world.catalogues)  # its view has not come so far
    async with client_of(elsewhere.app()) as other:
        _, there, _ = await ask(other)

    assert there["execution_id"] == here["execution_id"]
    # What it publishes once more is recognised by its digest and started once.
    assert [message.id for _, message in elsewhere.commands.accepted] == [here["execution_id"]]


async def test_m9_a_replay_says_how_it_is_now(client: Client, world: World) -> None:
    await ask(client)
    execution = await world.follow(status=Status.RUNNING)
    running = await ask(client)
    await world.view.put(replace(execution, status=Status.FAILED, exit_code=3))
    ended = await ask(client)

    assert (running[0], running[1]["status"], running[1]["message"], running[2]) == (
        202,
        "running",
        "Program 'billing' running",
        True,
    )
    assert (ended[0], ended[1]["status"], ended[1]["exit_code"], ended[2]) == (200, "failed", 3, True)


async def test_m9_m4_a_replay_waits_for_the_end_of_the_first(client: Client, world: World) -> None:
    await ask(client)
    asking = asyncio.create_task(ask(client, path="/execute?wait=30"))

    async def waits() -> bool:
        return bool(world.view.waited_for)

    await eventually(waits)
    await world.follow(status=Status.COMPLETED, exit_code=0)
    status, record, replayed = await asking

    assert (status, record["status"], replayed) == (200, "completed", True)


async def test_m9_a_replay_after_a_cleanup_is_410_and_starts_nothing(client: Client, world: World) -> None:
    _, first, _ = await ask(client)
    await world.follow(status=Status.FAILED)
    await client.delete("/executions/cleanup")

    status, problem, _ = await ask(client)

    assert (status, problem["type"]) == (410, "/problems/execution-removed")
    assert (problem["execution_id"], problem["execution_status"]) == (first["execution_id"], "failed")
    assert len(world.commands.accepted) == 1


async def test_a_replay_is_answered_also_when_its_program_is_gone_and_the_queue_is_full(client: Client, world: World) -> None:
    _, first, _ = await ask(client, {"program_id": "example_script"})
    world.catalogues.current = catalogue()
    world.commands.queue_lengths["default"] = world.queue_length

    status, again, replayed = await ask(client, {"program_id": "example_script"})

    assert (status, again["execution_id"], replayed) == (202, first["execution_id"], True)


async def test_a_refused_request_leaves_its_key_free(client: Client, world: World) -> None:
    world.commands.queue_lengths["slow"] = world.queue_length
    assert (await ask(client))[0] == 429
    assert (await ask(client, {"program_id": "nope"}))[0] == 404
    world.commands.queue_lengths.clear()

    assert (await ask(client))[0] == 202


async def test_m9_after_an_unknown_outcome_the_same_key_publishes_the_same_id_and_nothing_is_withdrawn(
    client: Client, world: World
) -> None:
    world.commands.accept_error = BusUnavailable("no confirm", outcome_unknown=True)
    response = await client.post("/execute", json=BODY, headers=KEY)
    problem = await response.json()
    world.commands.accept_error = None
    status, body, replayed = await ask(client)

    assert (response.status, problem["outcome"], response.headers["Retry-After"]) == (503, "unknown", "5")
    assert response.headers["Location"] == f"/executions/{problem['execution_id']}"
    assert (status, body["execution_id"], replayed) == (202, problem["execution_id"], False)
    assert world.decisions.proposed == []


async def test_without_a_key_what_is_not_confirmed_is_withdrawn(client: Client, world: World) -> None:
    world.commands.accept_error = BusUnavailable("no confirm", outcome_unknown=True)
    problem = await (await client.post("/execute", json=BODY)).json()

    async def decided() -> object:
        return world.decisions.made.get(problem["execution_id"])

    assert isinstance(await eventually(decided), End)


async def test_what_was_surely_not_accepted_is_not_withdrawn(client: Client, world: World) -> None:
    world.commands.accept_error = BusUnavailable("away")
    assert (await client.post("/execute", json=BODY)).status == 503
    world.commands.accept_error = None
    assert (await client.post("/execute", json=BODY)).status == 202

    assert world.decisions.proposed == []


async def test_m9_while_the_first_is_not_confirmed_the_others_are_answered_in_time(world: World) -> None:
    world.accept_limit_seconds = 0.2
    world.commands.may_confirm.clear()
    async with client_of(world.app()) as client:
        answers = await asyncio.gather(*(ask(client) for _ in range(5)))

    assert {(status, body["outcome"]) for status, body, _ in answers} == {(503, "unknown")}
    assert len({body["execution_id"] for _, body, _ in answers}) == 1


async def test_m9_the_publish_of_a_caller_that_left_is_waited_for(client: Client, world: World) -> None:
    world.commands.may_confirm.clear()
    leaving = asyncio.create_task(ask(client))
    await asyncio.wait_for(world.commands.publishing.wait(), 5)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    asking = asyncio.create_task(ask(client))
    asyncio.get_running_loop().call_later(0.05, world.commands.may_confirm.set)

    status, _, replayed = await asking

    assert (status, replayed) == (202, True)
    assert len(world.commands.accepted) == 1


async def test_a_view_that_can_not_be_read_is_503_and_nothing_is_accepted(client: Client, world: World) -> None:
    world.view.error = ViewUnavailable("the disk is gone")

    assert (await ask(client))[0] == 503
    assert world.commands.accepted == []


async def test_m9_of_two_bodies_under_one_key_on_two_gateways_the_first_in_the_log_is_shown(
    client: Client, world: World
) -> None:
    """The second one was told 202 before anybody could know; from the moment that the view knows, it is told the truth."""
    asking = asyncio.create_task(ask(client, path="/execute?wait=30"))

    async def waits() -> bool:
        return bool(world.view.waited_for)

    await eventually(waits)
    # What another gateway accepted came first in the log.
    execution = await world.follow(status=Status.COMPLETED, program_id="example_script", digest="another")
    status, problem, _ = await asking
    shown = await (await client.get(f"/executions/{execution.execution_id}")).json()
    again = await ask(client)

    assert (status, problem["type"]) == (422, "/problems/idempotency-key-reused")
    assert shown["program_id"] == "example_script"
    assert (again[0], again[1]["type"]) == (422, "/problems/idempotency-key-reused")


@pytest.mark.parametrize("key", ["", "k" * 256, "ñ", "a\tb"])
async def test_m9_what_is_no_key_is_422(client: Client, world: World, key: str) -> None:
    in_body = await client.post("/execute", json=BODY | {"idempotency_key": key})
    in_header = await client.post("/execute", json=BODY, headers={"Idempotency-Key": key})

    assert (in_body.status, (await in_body.json())["errors"][0]["loc"]) == (422, ["body", "idempotency_key"])
    assert (in_header.status, (await in_header.json())["errors"][0]["loc"]) == (422, ["header", "Idempotency-Key"])
    assert world.commands.accepted == []


async def test_m9_a_key_in_the_header_and_another_in_the_body_is_422(client: Client, world: World) -> None:
    different, _, _ = await ask(client, BODY | {"idempotency_key": "another"})
    twice = await client.post("/execute", json=BODY, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "a")])
    same, _, _ = await ask(client, BODY | {"idempotency_key": "order-17"})
    null, _, _ = await ask(client, BODY | {"idempotency_key": None})

    assert (different, twice.status, same, null) == (422, 422, 202, 202)
    assert len(world.commands.accepted) == 1


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def to_the_end_of_the_window(self) -> None:
        """Half a minute before the key names another execution."""
        keys = IdempotencyKeys(SIGNING_KEY)
        step = timedelta(seconds=10)
        while keys.ids(USERNAME, "order-17", self.now + step).new == keys.ids(USERNAME, "order-17", self.now).new:
            self.now += step
        self.now -= timedelta(seconds=20)


async def test_m9_a_key_names_its_execution_for_24_hours_and_then_may_name_another(world: World) -> None:
    world.clock = clock = Clock()
    async with client_of(world.app()) as client:
        _, first, _ = await ask(client)
        await world.follow(status=Status.COMPLETED)
        clock.now += KEPT - timedelta(seconds=1)
        status, last, replayed = await ask(client)
        clock.now += timedelta(seconds=1)
        _, new, new_replayed = await ask(client)

    assert (status, last["execution_id"], replayed) == (200, first["execution_id"], True)
    assert (new["execution_id"] != first["execution_id"], new_replayed) == (True, False)
    assert len(world.commands.accepted) == 2


@pytest.mark.parametrize("fate", ["unseen", "claimed", "view"])
async def test_m9_a_retry_across_the_end_of_a_window_never_starts_a_second_one(world: World, fate: str) -> None:
    world.clock = clock = Clock()
    clock.to_the_end_of_the_window()
    async with client_of(world.app()) as client:
        world.commands.accept_error = BusUnavailable("no confirm", outcome_unknown=True)
        old = (await ask(client))[1]["execution_id"]
        world.commands.accept_error = None
        clock.now += timedelta(minutes=1)
        if fate == "claimed":
            world.decisions.claim(old, "d")
        if fate == "view":
            await world.view.put(Execution(execution_id=old, program_id="7", status=Status.QUEUED, accepted_at=clock.now))
        status, body, replayed = await ask(client)

    if fate == "unseen":
        # Should it come up after all, it is decided that it does not run.
        assert isinstance(world.decisions.made[old], End)
        assert (status, body["execution_id"] != old, replayed) == (202, True, False)
    elif fate == "claimed":
        # With another body, as far as the claim says.
        assert (status, body["type"], body["execution_id"]) == (422, "/problems/idempotency-key-reused", old)
    else:
        assert (status, body["execution_id"], replayed) == (202, old, True)
        assert world.decisions.proposed == []


async def test_when_a_doubt_can_not_be_settled_nothing_is_accepted(world: World) -> None:
    world.clock = clock = Clock()
    clock.to_the_end_of_the_window()
    clock.now += timedelta(minutes=1)
    world.decisions.errors = [BusUnavailable("away")]
    async with client_of(world.app()) as client:
        refused, problem, _ = await ask(client)
        later, _, _ = await ask(client)
        clock.now += HANDOVER
        proposed = len(world.decisions.proposed)
        await ask(client, headers={"Idempotency-Key": "order-17"})

    assert (refused, problem["type"], later) == (503, "/problems/bus-unavailable", 202)
    assert len(world.decisions.proposed) == proposed
