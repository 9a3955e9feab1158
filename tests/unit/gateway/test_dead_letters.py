"""M28: dead letters over HTTP."""

import base64
import json

import pytest
from yarl import URL

from bus.errors import BusUnavailable
from bus.messages import DeadReason
from schemas.commands import MAX_COMMAND_BYTES, digest_of, parse_execute
from schemas.ids import execution_id_of
from tests.support.gateway_fakes import USERNAME, Client, World, catalogue, program

GOOD = b'{"program_id": "billing", "parameters": {"n": 1}, "submitted_by": "somebody"}'


async def test_m28_the_list_is_in_pages_the_newest_first_and_filtered(client: Client, world: World) -> None:
    for number in range(5):
        world.dead_letters.put(b"x", message_id=str(number), reason=DeadReason.EXPIRED if number % 2 else DeadReason.MALFORMED)

    first = await client.get("/dead-letters?limit=2")
    second = await client.get(URL(str(first.links["next"]["url"])).path_qs)
    third = await client.get(URL(str(second.links["next"]["url"])).path_qs)

    assert [row["message_id"] for page in (first, second, third) for row in await page.json()] == list("43210")
    assert not third.links
    expired = await (await client.get("/dead-letters?reason=expired")).json()
    assert [row["message_id"] for row in expired] == ["3", "1"]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "reason=no", "cursor=*", "limit=1&limit=2"])
async def test_m28_what_can_not_be_asked_of_the_list_is_422(client: Client, query: str) -> None:
    response = await client.get(f"/dead-letters?{query}")

    assert response.status == 422
    assert (await response.json())["errors"][0]["loc"] == ["query", query.partition("=")[0]]


async def test_m28_what_people_read_of_a_letter_has_no_control_characters(client: Client, world: World) -> None:
    letter = world.dead_letters.put(b"\x1b[2J\x00\xff\n" + "ñ".encode(), detail="\x1b]0;title\x07", message_id=None, key="")

    (row,) = await (await client.get("/dead-letters")).json()

    assert row["preview"] == r"\x1b[2J\x00\xff\nñ"
    assert row["detail"] == r"\x1b]0;title\x07"
    assert (row["id"], row["message_id"], row["routing_key"], row["size_bytes"]) == (letter.id, None, "", 9)


@pytest.mark.parametrize(
    ("body", "shown", "encoding", "redrivable"),
    [
        (GOOD, GOOD.decode(), "utf-8", True),
        (b"not json", "not json", "utf-8", False),
        (b"\xff", base64.b64encode(b"\xff").decode(), "base64", False),
        (b"", "", "utf-8", False),
    ],
)
async def test_m28_one_letter_shows_its_body_and_whether_it_can_be_run(
    client: Client, world: World, body: bytes, shown: str, encoding: str, redrivable: bool
) -> None:
    letter = world.dead_letters.put(body)

    one = await (await client.get(f"/dead-letters/{letter.id}")).json()

    assert (one["body"], one["body_encoding"], one["redrivable"]) == (shown, encoding, redrivable)
    assert not one["body_truncated"]


async def test_m28_of_a_huge_letter_the_beginning_is_shown(client: Client, world: World) -> None:
    letter = world.dead_letters.put(b"x" * (MAX_COMMAND_BYTES + 1))

    one = await (await client.get(f"/dead-letters/{letter.id}")).json()

    assert (len(one["body"]), one["body_truncated"], one["size_bytes"]) == (MAX_COMMAND_BYTES, True, MAX_COMMAND_BYTES + 1)


async def test_m28_a_letter_is_redriven_as_a_new_execution_and_gone(client: Client, world: World) -> None:
    world.catalogues.current = catalogue(program("billing"), program("other", pool="slow"))
    letter = world.dead_letters.put(GOOD, message_id="an order", key="execute.slow", reply_to="reply.me")

    response = await client.post(f"/dead-letters/{letter.id}/redrive")

    body = await response.json()
    assert response.status == 202
    assert response.headers["Location"] == f"/executions/{body['execution_id']}"
    [(pool, message)] = world.commands.accepted
    execution_id, command = parse_execute(message.id, message.body)
    assert (execution_id, pool, message.reply_to) == (body["execution_id"], "slow", "reply.me")
    assert (command.program_id, command.parameters, command.submitted_by) == ("billing", {"n": 1}, USERNAME)
    assert command.redrive_of == body["redrive_of"] == execution_id_of("an order")
    assert world.dead_letters.count() == 0
    assert (await client.post(f"/dead-letters/{letter.id}/redrive")).status == 404
    assert (await client.get(f"/executions/{execution_id}")).status == 200


async def test_m28_a_letter_without_an_id_is_redriven_and_named_by_its_own(client: Client, world: World) -> None:
    letter = world.dead_letters.put(GOOD, message_id=None, key="execute.gone")

    body = await (await client.post(f"/dead-letters/{letter.id}/redrive")).json()

    assert body["redrive_of"] == letter.id
    # The pool it came to is there no more: it goes to the program's.
    assert [pool for pool, _ in world.commands.accepted] == ["slow"]


@pytest.mark.parametrize(("other", "same"), [(None, True), ({"program_id": "billing", "parameters": {"n": 2}}, False)])
async def test_m28_what_is_redriven_twice_is_one_execution_unless_something_else_is_asked_for(
    client: Client, world: World, other: object, same: bool
) -> None:
    letter = world.dead_letters.put(GOOD)
    world.dead_letters.remove_error = BusUnavailable("gone away")  # as after a crash in between

    first = await client.post(f"/dead-letters/{letter.id}/redrive")
    world.dead_letters.remove_error = None
    second = await client.post(f"/dead-letters/{letter.id}/redrive", json=other)

    assert first.status == second.status == 202
    (_, one), (_, another) = world.commands.accepted
    assert (one.id == another.id) is same
    assert (digest_of(parse_execute(one.id, one.body)[1]) == digest_of(parse_execute(another.id, another.body)[1])) is same
    assert world.dead_letters.count() == 0


async def test_m28_what_would_be_dead_again_is_refused_until_a_body_says_what_was_meant(client: Client, world: World) -> None:
    letter = world.dead_letters.put(b"not json")

    refused = await client.post(f"/dead-letters/{letter.id}/redrive")
    assert (refused.status, (await refused.json())["type"]) == (422, "/problems/not-redrivable")
    assert world.dead_letters.count() == 1

    meant = await client.post(f"/dead-letters/{letter.id}/redrive", json={"program_id": "example_script"})
    assert meant.status == 202
    assert json.loads(world.commands.accepted[0][1].body)["program_id"] == "example_script"


@pytest.mark.parametrize(("name", "status"), [("nobody", 404), ("off", 400)])
async def test_m28_a_letter_whose_program_can_not_be_run_stays(client: Client, world: World, name: str, status: int) -> None:
    letter = world.dead_letters.put(json.dumps({"program_id": name}).encode())

    assert (await client.post(f"/dead-letters/{letter.id}/redrive")).status == status
    assert world.dead_letters.count() == 1


async def test_m28_a_letter_stays_when_the_bus_does_not_take_its_command(client: Client, world: World) -> None:
    letter = world.dead_letters.put(GOOD)
    world.commands.accept_error = BusUnavailable("away")

    response = await client.post(f"/dead-letters/{letter.id}/redrive")

    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert world.dead_letters.count() == 1


async def test_m28_a_letter_is_discarded_once(client: Client, world: World) -> None:
    letter = world.dead_letters.put(GOOD)
    world.dead_letters.remove_error = BusUnavailable("slow", outcome_unknown=True)
    unknown = await client.delete(f"/dead-letters/{letter.id}")
    assert (unknown.status, (await unknown.json())["outcome"]) == (503, "unknown")
    world.dead_letters.remove_error = None

    assert (await client.delete(f"/dead-letters/{letter.id}")).status == 204

    for method, path in (("DELETE", ""), ("GET", ""), ("POST", "/redrive")):
        gone = await client.request(method, f"/dead-letters/{letter.id}{path}")
        assert (gone.status, (await gone.json())["type"]) == (404, "/problems/dead-letter-not-found")
    assert world.commands.accepted == []


async def test_m28_health_tells_how_many_there_are_and_stays_healthy(stranger: Client, world: World) -> None:
    assert "dead_letters" not in await (await stranger.get("/health")).json()
    world.dead_letters.put(b"x")

    health = await (await stranger.get("/health")).json()

    assert (health["status"], health["dead_letters"]) == ("healthy", 1)
