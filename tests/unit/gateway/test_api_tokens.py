"""M29: long-lived tokens over HTTP, and what each kind of token may use."""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from bus.errors import BusUnavailable
from gateway.errors import TokensUnavailable, TooManyTokens
from gateway.policies import Policy
from gateway.route import Route
from gateway.routes import ROUTES
from schemas.tokens import Scope
from tests.support.gateway_fakes import USERNAME, Client, World, client_of
from tests.unit.gateway.test_default_deny import path_of

#: What a token for running programs is good for.
RUN = {
    ("GET", "/"),
    ("GET", "/programs"),
    ("POST", "/execute"),
    ("POST", "/executions"),
    ("GET", "/executions"),
    ("GET", "/executions/info"),
    ("GET", "/executions/stats"),
    ("GET", "/executions/concurrent"),
    ("GET", "/executions/{execution_id}"),
    ("GET", "/executions/{execution_id}/logs"),
    ("GET", "/executions/{execution_id}/logs/stream"),
    ("POST", "/executions/{execution_id}/cancel"),
}
#: What no long-lived token is good for.
LOGIN = {("POST", "/auth/tokens"), ("GET", "/auth/tokens"), ("DELETE", "/auth/tokens/{token_id}")}


async def test_m29_a_token_is_shown_once_listed_without_itself_and_revoked(client: Client, stranger: Client) -> None:
    made = await client.post("/auth/tokens", json={"name": "nightly job", "days": 30, "scope": "run"})

    body = await made.json()
    assert made.status == 201
    assert made.headers["Cache-Control"] == "no-store"
    token = body.pop("token")
    assert token.startswith("hub_")
    assert (body["name"], body["scope"], body["created_by"]) == ("nightly job", "run", USERNAME)
    lasts = datetime.fromisoformat(body["expires_at"]) - datetime.fromisoformat(body["created_at"])
    assert lasts == timedelta(days=30)
    assert datetime.fromisoformat(body["created_at"]).tzinfo == UTC
    listed = await client.get("/auth/tokens")
    assert await listed.json() == [body]
    mine = {"Authorization": f"Bearer {token}"}
    assert (await stranger.get("/programs", headers=mine)).status == 200

    revoked = await client.delete(f"/auth/tokens/{body['id']}")

    assert (revoked.status, await revoked.read()) == (204, b"")
    assert (await stranger.get("/programs", headers=mine)).status == 401
    assert (await client.delete(f"/auth/tokens/{body['id']}")).status == 404
    assert await (await client.get("/auth/tokens")).json() == []


async def test_m29_without_days_a_token_holds_until_it_is_revoked(client: Client) -> None:
    body = await (await client.post("/auth/tokens", json={"name": "a"})).json()

    assert (body["expires_at"], body["scope"]) == (None, "all")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 65},
        {"name": "a\n"},
        {"name": "a/b"},
        {"name": "a", "days": 0},
        {"name": "a", "days": 3651},
        {"name": "a", "days": 1.5},
        {"name": "a", "scope": "admin"},
        {"name": "a", "day": 1},
    ],
)
async def test_m29_a_token_that_is_asked_for_wrongly_is_422_and_none_is_made(
    client: Client, world: World, body: dict[str, object]
) -> None:
    assert (await client.post("/auth/tokens", json=body)).status == 422
    assert await world.api_tokens.all() == []


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_m29_each_kind_of_token_is_good_for_its_routes_and_no_others(world: World, route: Route) -> None:
    name = (route.method, route.path)
    allowed = {
        Scope.RUN: name in RUN or route.policy is Policy.OPEN,
        Scope.ALL: name not in LOGIN,
    }
    for scope, may in allowed.items():
        async with client_of(world.app(), token=world.api_tokens.issue(scope)) as client:
            response = await client.request(route.method, path_of(route))
            assert (response.status == 403) is not may, (scope, response.status)
            if not may:
                assert (await response.json())["type"] == "/problems/scope-too-small"
    async with client_of(world.app()) as client:
        assert (await client.request(route.method, path_of(route))).status not in (401, 403)


async def test_m29_the_lists_of_these_tests_name_routes_that_exist() -> None:
    assert {(route.method, route.path) for route in ROUTES} >= RUN | LOGIN


async def test_m29_an_execution_says_which_token_asked_for_it(world: World) -> None:
    async with client_of(world.app(), token=world.api_tokens.issue(Scope.RUN, name="nightly", created_by="ada")) as client:
        assert (await client.post("/execute", json={"program_id": "example_script"})).status == 202

        execution = await world.follow()
    assert execution.submitted_by == "ada/nightly"


async def test_a_name_that_is_too_long_for_an_execution_is_cut(world: World) -> None:
    token = world.api_tokens.issue(Scope.RUN, name="n" * 64, created_by="u" * 256)
    async with client_of(world.app(), token=token) as client:
        assert (await client.post("/execute", json={"program_id": "example_script"})).status == 202


async def test_m29_until_the_tokens_are_read_they_are_503_and_logins_go_on(world: World, client: Client) -> None:
    token = world.api_tokens.issue()
    world.api_tokens.error = TokensUnavailable("not yet")
    async with client_of(world.app(), token=token) as scripted:
        response = await scripted.get("/programs")
        assert response.status == 503
        assert (await response.json())["type"] == "/problems/tokens-unavailable"
        assert int(response.headers["Retry-After"]) >= 1
    assert (await client.get("/programs")).status == 200
    assert (await client.get("/auth/tokens")).status == 503


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (TooManyTokens(10_000), 409, "too-many-tokens"),
        (BusUnavailable("away"), 503, "bus-unavailable"),
        (BusUnavailable("no confirm", outcome_unknown=True), 503, "outcome-unknown"),
    ],
)
async def test_m29_what_can_not_be_made_or_revoked_says_why(
    client: Client, world: World, error: Exception, status: int, slug: str
) -> None:
    world.api_tokens.error = error

    made = await client.post("/auth/tokens", json={"name": "a"})

    assert (made.status, (await made.json())["type"]) == (status, f"/problems/{slug}")
    if isinstance(error, BusUnavailable):
        revoked = await client.delete("/auth/tokens/x")
        assert (revoked.status, (await revoked.json())["type"]) == (status, f"/problems/{slug}")


async def test_m29_no_log_line_shows_a_token(client: Client, stranger: Client) -> None:
    with capture_logs() as lines:
        token = (await (await client.post("/auth/tokens", json={"name": "a"})).json())["token"]
        await stranger.get("/programs", headers={"Authorization": f"Bearer {token}"})
        await stranger.get("/programs", headers={"Authorization": f"Bearer {token}x"})

    assert token not in repr(lines)
