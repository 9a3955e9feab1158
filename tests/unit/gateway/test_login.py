"""POST /auth/login."""

import jwt
import pytest
from structlog.testing import capture_logs

from gateway.throttle import Throttle
from tests.support.gateway_fakes import PASSWORD, USERNAME, Client, World, client_of


async def test_a2_a_good_login_gives_a_token_that_opens_the_rest(stranger: Client) -> None:
    response = await stranger.post("/auth/login", json={"username": USERNAME, "password": PASSWORD})

    body = await response.json()
    assert response.status == 200
    assert set(body) == {"access_token", "token_type", "expires_in", "username"}
    assert (body["token_type"], body["expires_in"], body["username"]) == ("bearer", 86400, USERNAME)
    assert response.headers["Cache-Control"] == "no-store"
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 86400
    token = {"Authorization": f"Bearer {body['access_token']}"}
    assert (await stranger.get("/programs", headers=token)).status == 200


@pytest.mark.parametrize(("username", "password"), [(USERNAME, "wrong"), ("nobody", PASSWORD), ("", "")])
async def test_a3_a_wrong_user_or_password_is_401_and_says_not_which(stranger: Client, username: str, password: str) -> None:
    response = await stranger.post("/auth/login", json={"username": username, "password": password})

    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert (await response.json())["detail"] == "Incorrect username or password"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "x"},
        {"username": 1, "password": "x"},
        {"username": "\ud800", "password": "x"},
        {"username": "x", "password": "y" * 2000},
    ],
)
async def test_a9_a_malformed_login_is_422_and_checks_nothing(stranger: Client, world: World, body: dict[str, object]) -> None:
    response = await stranger.post("/auth/login", json=body)

    assert response.status == 422
    assert world.accounts.checks == 0


async def test_a7_neither_logs_nor_answers_repeat_what_was_typed(stranger: Client) -> None:
    with capture_logs() as lines:
        response = await stranger.post("/auth/login", json={"username": "canary-user", "password": "canary-password"})
        text = await response.text()

    assert "canary" not in repr(lines) + text


async def test_after_five_failures_even_the_right_password_has_to_wait(stranger: Client, world: World) -> None:
    for _ in range(5):
        assert (await stranger.post("/auth/login", json={"username": USERNAME, "password": "wrong"})).status == 401

    response = await stranger.post("/auth/login", json={"username": USERNAME, "password": PASSWORD})

    assert response.status == 429
    assert int(response.headers["Retry-After"]) >= 1
    assert world.accounts.checks == 5


async def test_logins_above_the_rate_wait_whoever_makes_them(world: World) -> None:
    world.throttle = Throttle(clock=lambda: 0.0, attempts_per_second=2)
    async with client_of(world.app(), token="") as client:
        body = {"username": USERNAME, "password": PASSWORD}
        statuses = [(await client.post("/auth/login", json=body)).status for _ in range(3)]

    assert statuses == [200, 200, 429]
