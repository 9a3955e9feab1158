"""The table of routes: method, path, handler, who may use it, and what it takes and gives."""

from collections.abc import Mapping

from aiohttp import web
from pydantic import BaseModel

from gateway import documents
from gateway.bodies import CancelBody, ExecuteBody, LoginBody, TokenBody
from gateway.handlers import (
    auth,
    containers,
    dead_letters,
    docs,
    executions,
    follow,
    health,
    images,
    programs,
    root,
    stats,
    tokens,
)
from gateway.parameters import ATTEMPT, DEAD_PAGE, KEY, PAGE, READY, RESUME, WAIT
from gateway.policies import Policies, Policy
from gateway.route import Route

_RUN: Mapping[int, type[BaseModel]] = {200: documents.Record, 202: documents.Accepted}
_DEAD: Mapping[int, type[BaseModel]] = {200: documents.DeadLetters}
_PAGE: Mapping[int, str] = {200: "text/html"}
_TOKEN = Policy.AUTHENTICATED
_RUNS = Policy.RUN
_LOGIN = Policy.LOGIN

#: Fixed paths stand before those with a variable part, which would match them too.
ROUTES = (
    Route("GET", "/", root.show, _RUNS, "Name and version", {200: documents.Root}),
    Route("GET", "/health", health.show, Policy.OPEN, "How the hub is", {200: documents.Health}, query=READY),
    Route("GET", "/docs", docs.show_page, Policy.OPEN, "This description, for people", other_answers=_PAGE),
    Route("GET", "/openapi.json", docs.show_document, _TOKEN, "This description, for programs", {200: documents.OpenApi}),
    Route("POST", "/auth/login", auth.login, Policy.OPEN, "Get a token for a day", {200: documents.Token}, LoginBody),
    Route("POST", "/auth/tokens", tokens.create, _LOGIN, "Make a long-lived token", {201: documents.NewApiToken}, TokenBody),
    Route("GET", "/auth/tokens", tokens.list_all, _LOGIN, "The long-lived tokens", {200: documents.ApiTokens}),
    Route("DELETE", "/auth/tokens/{token_id}", tokens.revoke, _LOGIN, "Revoke a long-lived token", {204: None}),
    Route("GET", "/programs", programs.list_enabled, _RUNS, "The enabled programs", {200: documents.Programs}),
    Route("POST", "/execute", executions.create, _RUNS, "Run a program", _RUN, ExecuteBody, WAIT, KEY),
    Route("POST", "/executions", executions.create, _RUNS, "Run a program", _RUN, ExecuteBody, WAIT, KEY),
    Route("GET", "/executions", executions.list_newest, _RUNS, "Executions in pages", {200: documents.Records}, query=PAGE),
    Route("DELETE", "/executions/cleanup", executions.clean_up, _TOKEN, "Remove finished records", {200: documents.Cleanup}),
    Route("GET", "/executions/info", stats.show_info, _RUNS, "How many records there are", {200: documents.Info}),
    Route("GET", "/executions/stats", stats.show, _RUNS, "Cumulative counts", {200: documents.Statistics}),
    Route("GET", "/executions/concurrent", stats.show_concurrent, _RUNS, "What runs now", {200: documents.Concurrent}),
    Route("GET", "/executions/{execution_id}", executions.show, _RUNS, "One execution", {200: documents.Record}),
    Route(
        "GET",
        "/executions/{execution_id}/logs",
        executions.show_logs,
        _RUNS,
        "Its output",
        {200: documents.Logs},
        query=ATTEMPT,
    ),
    Route(
        "GET",
        "/executions/{execution_id}/logs/stream",
        follow.stream,
        _RUNS,
        "Its statuses and its output as they come, as server-sent events",
        other_answers={200: "text/event-stream"},
        headers=RESUME,
    ),
    Route(
        "POST",
        "/executions/{execution_id}/cancel",
        executions.cancel,
        _RUNS,
        "End it",
        {200: documents.Record, 202: documents.Record},
        CancelBody,
        needs_body=False,
    ),
    Route("GET", "/dead-letters", dead_letters.list_newest, _TOKEN, "Dead letters in pages", _DEAD, query=DEAD_PAGE),
    Route("GET", "/dead-letters/{letter_id}", dead_letters.show, _TOKEN, "One dead letter", {200: documents.DeadLetter}),
    Route(
        "POST",
        "/dead-letters/{letter_id}/redrive",
        dead_letters.run_again,
        _TOKEN,
        "Run it again, as it is or as the body says",
        {202: documents.Redriven},
        ExecuteBody,
        needs_body=False,
    ),
    Route("DELETE", "/dead-letters/{letter_id}", dead_letters.discard, _TOKEN, "Let go of a dead letter", {204: None}),
    Route("GET", "/containers/active", containers.list_active, _TOKEN, "What runs now", {200: documents.ActiveContainers}),
    # A name may have slashes in it.
    Route("GET", "/containers/logs/{image:.+}", containers.show_logs, _TOKEN, "Their logs", {200: documents.ContainerLogs}),
    Route("GET", "/images/available", images.list_configured, _TOKEN, "Configured images", {200: documents.Images}),
    Route("GET", "/images/search/{term:.+}", images.search, _TOKEN, "Find images", {200: documents.FoundImages}),
)


def add_routes(router: web.UrlDispatcher) -> Policies:
    """Register all routes; the policy of each."""
    policies: Policies = {}
    for route in ROUTES:
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            policies[router.add_route(method, route.path, route.handler)] = route.policy
    return policies
