"""``/health``: how the hub is."""

from typing import Any

from aiohttp import web

from gateway import problems
from gateway.answers import json_answer
from gateway.errors import Refused
from gateway.keys import CATALOGUES, DEAD_LETTERS, FLEET, HEALTH, LEAVING
from schemas.times import utc_now


async def show(request: web.Request) -> web.Response:
    """200 while the process lives; with ``?ready=1`` only if an execution can be accepted now."""
    wrong = dict(request.app[HEALTH].problems())
    if problem := request.app[CATALOGUES].problem:
        wrong.setdefault("config", problem)
    if request.app[LEAVING].is_set():
        wrong["gateway"] = "it is about to stop"
    is_ready = request.app[HEALTH].ready() and not request.app[LEAVING].is_set()
    if request.query.get("ready") in ("1", "true") and not is_ready:
        raise Refused(problems.not_ready(wrong))
    health: dict[str, Any] = {"status": "degraded" if wrong else "healthy", "timestamp": utc_now().isoformat()}
    health["live_runners"] = request.app[FLEET].size()
    if versions := request.app[HEALTH].versions():
        health["versions"] = versions
    # To be told, and no fault of the hub: its health stays what it is.
    if dead := request.app[DEAD_LETTERS].count():
        health["dead_letters"] = dead
    if wrong:
        health["problems"] = wrong
    return json_answer(health)
