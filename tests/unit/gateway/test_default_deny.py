"""A5, A6: no handler runs without a policy, and none but two without a valid token."""

import re
import time

import jwt
import pytest
from aiohttp import ClientSession, web
from yarl import URL

from gateway.policies import Policy
from gateway.route import Route
from gateway.routes import ROUTES
from gateway.tokens import Tokens
from schemas.ids import new_execution_id
from tests.support.gateway_fakes import SIGNING_KEY, Client, World, client_of


def forged(key: bytes | None = SIGNING_KEY, algorithm: str = "HS256", **changes: object) -> str:
    now = int(time.time())
    claims = {
        "sub": "anna",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "jti": "1",
        "aud": "pyexecutorhub-api",
        "iss": "pyexecutorhub",
    }
    return jwt.encode(claims | changes, key, algorithm=algorithm)


NOT_AUTHENTICATED = {
    "no header": None,
    "empty": "",
    "basic": "Basic dGVzdGVyOng=",
    "bare token": Tokens(SIGNING_KEY).issue("anna"),
    "bearer without token": "Bearer",
}
NOT_VALID = {
    "garbage": "Bearer garbage",
    "three parts": "Bearer a.b.c",
    "expired": f"Bearer {forged(exp=int(time.time()) - 3600)}",
    "not yet": f"Bearer {forged(nbf=int(time.time()) + 3600)}",
    "alg none": f"Bearer {forged(None, 'none')}",
    "other key": f"Bearer {forged(bytes(32))}",
    "other audience": f"Bearer {forged(aud='other')}",
    "other issuer": f"Bearer {forged(iss='other')}",
    "unknown long-lived": f"Bearer hub_{'a' * 43}",
    "no id": f"Bearer {forged(jti=None)}",
}
PROTECTED = [route for route in ROUTES if route.policy is not Policy.OPEN]


@pytest.fixture
def ran(world: World) -> list[str]:
    """Paths whose handlers ran, in the world's next gateways."""
    return []


def spied(world: World, ran: list[str]) -> web.Application:
    """A gateway whose handlers note that they ran."""
    app = world.app()

    @web.middleware
    async def note(request: web.Request, handler: object) -> web.StreamResponse:
        if request.match_info.http_exception is None:
            ran.append(request.path)
        response: web.StreamResponse = await handler(request)  # type: ignore[operator]
        return response

    app.middlewares.append(note)
    return app


def canonical(path: str) -> str:
    """A path without the patterns of its variable parts, as the router shows it."""
    return re.sub(r"\{(\w+):[^}]+\}", r"{\1}", path)


def path_of(route: Route) -> str:
    return (
        canonical(route.path)
        .replace("{execution_id}", new_execution_id())
        .replace("{term}", "a/b:1")
        .replace("{image}", "a/b:1")
        .replace("{token_id}", new_execution_id())
        .replace("{letter_id}", new_execution_id())
    )


def test_only_health_login_and_the_page_of_the_documentation_are_open() -> None:
    assert {route.path for route in ROUTES if route.policy is Policy.OPEN} == {"/health", "/auth/login", "/docs"}


async def test_a6_every_route_of_the_application_is_in_the_table(world: World) -> None:
    app = world.app()

    registered = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}

    listed = {(route.method, canonical(route.path)) for route in ROUTES}
    assert registered == listed | {("HEAD", path) for method, path in listed if method == "GET"}


@pytest.mark.parametrize(
    ("header", "detail"),
    [(header, "Not authenticated") for header in NOT_AUTHENTICATED.values()]
    + [(header, "Could not validate credentials") for header in NOT_VALID.values()],
    ids=[*NOT_AUTHENTICATED, *NOT_VALID],
)
async def test_a4_a5_a6_b1_no_protected_route_answers_without_a_valid_token(
    world: World, ran: list[str], header: str | None, detail: str
) -> None:
    async with client_of(spied(world, ran), token="") as client:
        for route in PROTECTED:
            response = await client.request(
                route.method, path_of(route), headers={"Authorization": header} if header is not None else {}
            )
            assert response.status == 401, route
            assert response.content_type == "application/problem+json"
            assert (await response.json())["detail"] == detail
            assert response.headers["WWW-Authenticate"] == "Bearer"
    assert ran == []
    assert world.commands.accepted == []


async def test_a_token_in_the_address_or_a_cookie_is_no_token(stranger: Client) -> None:
    token = Tokens(SIGNING_KEY).issue("anna")

    assert (await stranger.get(f"/programs?token={token}&access_token={token}")).status == 401
    assert (await stranger.get("/programs", headers={"Cookie": f"access_token={token}"})).status == 401


def spellings(path: str) -> list[str]:
    bare = path.removeprefix("/")
    return [
        f"//{bare}",
        f"/{bare}/",
        f"/{bare}//",
        f"/./{bare}",
        f"/health/../{bare}",
        f"/auth/login/../../{bare}",
        f"/health%2f..%2f{bare}",
        f"/%2e%2e/{bare}",
        f"/{bare}%00",
        f"/{bare}%20",
        f"/{bare};x=/health",
        f"/{bare}?/health",
        f"/{bare}?x=/auth/login",
        f"/{bare}#/health",
        f"/{bare}/health",
        f"/health/{bare}",
        f"/{bare.upper()}",
        "/" + "".join(f"%{ord(letter):02x}" for letter in bare),
        f"/{bare}.json",
        f"/\\{bare}",
        f"/{bare}/..;/health",
    ]


async def test_a6_no_odd_spelling_of_a_path_reaches_a_handler_without_a_token(world: World, ran: list[str]) -> None:
    # A session of its own: the test client's would tidy the paths up.
    async with client_of(spied(world, ran), token="") as client, ClientSession() as session:
        for route in PROTECTED:
            for spelling in spellings(path_of(route)):
                url = URL(f"http://{client.host}:{client.port}{spelling}", encoded=True)
                for method in (route.method, "OPTIONS", "TRACE", "PUT"):
                    async with session.request(method, url) as response:
                        assert response.status in (400, 401), (method, spelling)
    assert ran == []


async def test_paths_that_lead_nowhere_are_401_for_strangers_and_404_or_405_with_a_token(
    client: Client, stranger: Client
) -> None:
    assert (await stranger.get("/nowhere")).status == 401
    assert (await stranger.delete("/programs")).status == 401
    assert (await client.get("/nowhere")).status == 404
    assert (await client.delete("/programs")).status == 405


async def test_a_route_without_a_policy_is_denied_even_with_a_token(world: World, ran: list[str]) -> None:
    for token, status in ((None, 403), ("", 401)):
        app = spied(world, ran)
        app.router.add_get("/forgotten", forgotten)
        async with client_of(app, token=token) as client:
            assert (await client.get("/forgotten")).status == status
    assert ran == []


async def forgotten(request: web.Request) -> web.Response:
    """A handler that somebody registered past the table."""
    return web.Response()
