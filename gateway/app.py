"""Puts the gateway together from what the hub injects."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from aiohttp import web

from bus.ports import Commands, DeadLetters, Decisions
from gateway.bodies import MAX_BODY_BYTES
from gateway.cancels import Cancels
from gateway.followers import Followers
from gateway.intake import LIMIT_SECONDS, Intake
from gateway.keyed_ids import IdempotencyKeys
from gateway.keys import (
    ACCOUNTS,
    API_TOKENS,
    CANCELS,
    CATALOGUES,
    CLEANUPS,
    DEAD_LETTERS,
    DOCUMENT,
    FLEET,
    FOLLOWERS,
    HEALTH,
    INTAKE,
    LEAVING,
    LOOKUP,
    PAGE,
    POLICIES,
    REQUEST_ID,
    THROTTLE,
    TOKENS,
    VERSION,
    VIEW,
    WAITS,
)
from gateway.lookup import Lookup
from gateway.middlewares import authorize, name_request, tell_problems
from gateway.openapi import make_document
from gateway.overlay import Overlay
from gateway.ports import Accounts, ApiTokens, Catalogues, Cleanups, Endings, Fleet, Health, Room, View
from gateway.reference_page import render
from gateway.repeats import Repeats
from gateway.routes import ROUTES, add_routes
from gateway.throttle import Throttle
from gateway.tokens import Tokens
from gateway.waits import Waits
from gateway.withdrawals import Withdrawals
from schemas.times import utc_now

#: Answers are data: no browser may guess their type, run them, frame them, or keep them.
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def make_app(
    *,
    catalogues: Catalogues,
    commands: Commands,
    decisions: Decisions,
    view: View,
    endings: Endings,
    cleanups: Cleanups,
    dead_letters: DeadLetters,
    fleet: Fleet,
    health: Health,
    accounts: Accounts,
    api_tokens: ApiTokens,
    signing_key: bytes,
    queue_length: int,
    version: str,
    room: Room | None = None,
    accept_limit_seconds: float = LIMIT_SECONDS,
    overlay: Overlay | None = None,
    throttle: Throttle | None = None,
    wall_clock: Callable[[], float] = time.time,
    clock: Callable[[], datetime] = utc_now,
) -> web.Application:
    """The HTTP application.

    ``queue_length`` is how many commands may wait in a pool's queue, ``version`` the version of the package; without
    ``room`` nobody looks whether the disk has some.

    Raises:
        BadSigningKey: the key has less than 32 bytes.
    """
    overlay = overlay if overlay is not None else Overlay()
    withdrawals = Withdrawals(decisions)
    keys = IdempotencyKeys(signing_key)
    app = web.Application(middlewares=[name_request, tell_problems, authorize], client_max_size=MAX_BODY_BYTES)
    app[ACCOUNTS] = accounts
    app[API_TOKENS] = api_tokens
    app[CANCELS] = Cancels(decisions, limit_seconds=accept_limit_seconds)
    app[CATALOGUES] = catalogues
    app[CLEANUPS] = cleanups
    app[DEAD_LETTERS] = dead_letters
    app[DOCUMENT] = document = make_document(ROUTES, version=version)
    app[PAGE] = render(document)
    app[FLEET] = fleet
    app[FOLLOWERS] = Followers(view, endings)
    app[HEALTH] = health
    app[INTAKE] = Intake(
        catalogues=catalogues,
        commands=commands,
        overlay=overlay,
        view=view,
        fleet=fleet,
        repeats=Repeats(keys=keys, overlay=overlay, view=view, withdrawals=withdrawals, clock=clock),
        withdrawals=withdrawals,
        queue_length=queue_length,
        room=room,
        limit_seconds=accept_limit_seconds,
        clock=clock,
    )
    app[LEAVING] = asyncio.Event()
    app[LOOKUP] = Lookup(view, overlay)
    app[THROTTLE] = throttle or Throttle()
    app[TOKENS] = Tokens(signing_key, clock=wall_clock)
    app[VERSION] = version
    app[VIEW] = view
    app[WAITS] = Waits(endings)
    app[POLICIES] = add_routes(app.router)
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(_let_waiting_requests_go)
    app.cleanup_ctx.append(_running("sweep the overlay", partial(overlay.keep_swept, view)))
    app.cleanup_ctx.append(_running("withdraw what is unconfirmed", withdrawals.run))
    app.on_cleanup.append(_finish_publishing)
    return app


def _running(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[web.Application], AsyncIterator[None]]:
    async def context(_app: web.Application) -> AsyncIterator[None]:
        running = asyncio.create_task(work(), name=name)
        yield
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    return context


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if request_id := request.get(REQUEST_ID):
        response.headers["X-Request-ID"] = request_id
    # Which server this is, in which version, helps nobody but an attacker.
    response.headers.popall("Server", None)


async def _let_waiting_requests_go(app: web.Application) -> None:
    app[WAITS].close()
    app[FOLLOWERS].close()


async def _finish_publishing(app: web.Application) -> None:
    await app[INTAKE].close()
