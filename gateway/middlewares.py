"""What happens around every handler, from the outside in: name the request, turn errors into problems, let in or deny."""

import re
import time
from uuid import uuid4

import structlog
from aiohttp import web

from bus.errors import BusError
from gateway import problems, token_problems
from gateway.answers import problem_answer
from gateway.bodies import MAX_BODY_BYTES
from gateway.errors import FleetBusy, Refused, TokensUnavailable, ViewUnavailable
from gateway.keys import API_TOKENS, CALLER, LEAVING, POLICIES, REQUEST_ID, TOKENS, USERNAME
from gateway.policies import Policy, caller_of
from gateway.problems import Problem
from gateway.route import Handler

log = structlog.get_logger()

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

#: Of HTTP's own errors, those headers that mean something to the caller of a problem too.
_KEPT_HEADERS = ("Allow", "Location", "Retry-After")


@web.middleware
async def name_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, the caller's own if it is a plain word, and log how it went."""
    told = request.headers.get("X-Request-ID", "")
    request_id = told if _REQUEST_ID.fullmatch(told) else uuid4().hex
    request[REQUEST_ID] = request_id
    started_at = time.monotonic()
    status: int | None = None
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        try:
            response = await handler(request)
            status = response.status
            if request.app[LEAVING].is_set():
                response.force_close()  # what comes next belongs to another gateway
            return response
        finally:
            log.debug(
                "request answered" if status else "request abandoned",
                action="request",
                method=request.method,
                path=request.path,
                status=status,
                milliseconds=round((time.monotonic() - started_at) * 1000, 1),
            )


@web.middleware
async def tell_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem document."""
    try:
        return await handler(request)
    except ConnectionError:
        # The caller has gone: there is nobody to answer.
        raise
    except Exception as error:
        return problem_answer(_problem_of(error), request_id=request[REQUEST_ID])


@web.middleware
async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Deny by default: without a token only what is declared open, with one only what is declared at all.

    Paths that lead nowhere need a token too, so that strangers can't find out which ones exist.
    """
    route = request.match_info.route
    policy = request.app[POLICIES].get(route)
    if policy is Policy.OPEN:
        return await handler(request)
    caller = await caller_of(request, request.app[TOKENS], request.app[API_TOKENS])
    request[CALLER] = caller
    request[USERNAME] = caller.name
    if request.match_info.http_exception is not None:
        return await handler(request)
    if policy is None:
        log.error("a route has no policy", action="route_without_policy", route=repr(route))
        raise Refused(problems.no_policy())
    if not caller.may_use(policy):
        raise Refused(token_problems.scope_too_small())
    return await handler(request)


def _problem_of(error: Exception) -> Problem:
    match error:
        case Refused():
            return error.problem
        case web.HTTPRequestEntityTooLarge():
            return problems.body_too_large(MAX_BODY_BYTES)
        case web.HTTPException():
            headers = {name: error.headers[name] for name in _KEPT_HEADERS if name in error.headers}
            return problems.of_status(error.status, headers=headers)
        case web.RequestPayloadError():
            return problems.of_status(400, detail="The body is not what its headers say")
        case ViewUnavailable():
            return problems.view_unavailable()
        case FleetBusy():
            return problems.fleet_busy()
        case TokensUnavailable():
            return token_problems.tokens_unavailable()
        case BusError():
            return problems.bus_unavailable()
        case _:
            log.error("a request failed", action="request_failed", exc_info=error)
            return problems.of_status(500)
