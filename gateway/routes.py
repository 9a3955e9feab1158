"""The routes, one line each: method, path, handler, and who may use it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from gateway.handlers import auth, executions, health, images, programs, root, stats
from gateway.policies import Policies, Policy

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route. A GET route answers HEAD as well."""

    method: str
    path: str
    handler: Handler
    policy: Policy


#: Fixed paths stand before those with a variable part, which would match them too.
ROUTES = (
    Route("GET", "/", root.show, Policy.AUTHENTICATED),
    Route("GET", "/health", health.show, Policy.OPEN),
    Route("POST", "/auth/login", auth.login, Policy.OPEN),
    Route("GET", "/programs", programs.list_enabled, Policy.AUTHENTICATED),
    Route("POST", "/execute", executions.create, Policy.AUTHENTICATED),
    Route("POST", "/executions", executions.create, Policy.AUTHENTICATED),
    Route("GET", "/executions", executions.list_newest, Policy.AUTHENTICATED),
    Route("DELETE", "/executions/cleanup", executions.clean_up, Policy.AUTHENTICATED),
    Route("GET", "/executions/info", stats.show_info, Policy.AUTHENTICATED),
    Route("GET", "/executions/stats", stats.show, Policy.AUTHENTICATED),
    Route("GET", "/executions/concurrent", stats.show_concurrent, Policy.AUTHENTICATED),
    Route("GET", "/executions/{execution_id}", executions.show, Policy.AUTHENTICATED),
    Route("GET", "/executions/{execution_id}/logs", executions.show_logs, Policy.AUTHENTICATED),
    Route("GET", "/images/available", images.list_configured, Policy.AUTHENTICATED),
    # A name may have slashes in it.
    Route("GET", "/images/search/{term:.+}", images.search, Policy.AUTHENTICATED),
)


def add_routes(router: web.UrlDispatcher) -> Policies:
    """Register all routes; the policy of each."""
    policies: Policies = {}
    for route in ROUTES:
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            policies[router.add_route(method, route.path, route.handler)] = route.policy
    return policies
