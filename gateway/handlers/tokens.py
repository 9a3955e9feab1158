"""``/auth/tokens``: long-lived tokens for scripts. Only whoever has logged in may make, see and revoke them.

A long-lived token can't: one that was stolen could otherwise make others, which would outlive its revocation.
"""

from typing import Any

from aiohttp import web

from bus.errors import BusUnavailable
from gateway import problems, token_problems
from gateway.answers import json_answer
from gateway.bodies import TokenBody, read_body
from gateway.errors import Refused, TooManyTokens
from gateway.keys import API_TOKENS, USERNAME
from schemas.tokens import TokenCreated


async def create(request: web.Request) -> web.Response:
    """Make a token. This answer alone shows it."""
    body = await read_body(request, TokenBody)
    try:
        created, token = await request.app[API_TOKENS].create(
            name=body.name, scope=body.scope, days=body.days, created_by=request[USERNAME]
        )
    except TooManyTokens as error:
        raise Refused(token_problems.too_many_tokens(error.most)) from error
    except BusUnavailable as error:
        raise Refused(token_problems.token_unconfirmed() if error.outcome_unknown else problems.bus_unavailable()) from error
    return json_answer(_shown(created) | {"token": token}, status=201)


async def list_all(request: web.Request) -> web.Response:
    """Every token that holds, without what it is."""
    return json_answer([_shown(token) for token in await request.app[API_TOKENS].all()])


async def revoke(request: web.Request) -> web.Response:
    """Revoke one, for good and on every gateway."""
    try:
        found = await request.app[API_TOKENS].revoke(request.match_info["token_id"], revoked_by=request[USERNAME])
    except BusUnavailable as error:
        raise Refused(problems.unconfirmed() if error.outcome_unknown else problems.bus_unavailable()) from error
    if not found:
        raise Refused(token_problems.token_not_found())
    return web.Response(status=204)


def _shown(token: TokenCreated) -> dict[str, Any]:
    """What people may see of it: neither the token nor its digest."""
    return {
        "id": token.token_id,
        "name": token.name,
        "scope": token.scope.value,
        "created_at": token.created_at.isoformat(),
        "created_by": token.created_by,
        "expires_at": None if token.expires_at is None else token.expires_at.isoformat(),
    }
