"""``/auth``: a token for a user and a password."""

import structlog
from aiohttp import web

from gateway import problems
from gateway.answers import json_answer
from gateway.bodies import LoginBody, read_body
from gateway.errors import Refused
from gateway.keys import ACCOUNTS, THROTTLE, TOKENS

log = structlog.get_logger()


async def login(request: web.Request) -> web.Response:
    """A token for a day."""
    body = await read_body(request, LoginBody)
    address = request.remote or "unknown"
    throttle = request.app[THROTTLE]
    if wait_seconds := throttle.wait_seconds(body.username, address):
        raise Refused(problems.too_many_logins(wait_seconds))
    if not await request.app[ACCOUNTS].verify(body.username, body.password):
        throttle.failed(body.username, address)
        # The name is not logged: people type their password into the wrong field.
        log.warning("login failed", action="login_failed", address=address)
        raise Refused(problems.wrong_credentials())
    throttle.succeeded(body.username, address)
    tokens = request.app[TOKENS]
    log.info("login succeeded", action="login_succeeded", username=body.username, address=address)
    return json_answer(
        {
            "access_token": tokens.issue(body.username),
            "token_type": "bearer",
            "expires_in": tokens.lifetime_seconds,
            "username": body.username,
        }
    )
