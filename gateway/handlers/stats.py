"""Numbers about executions. They come from one snapshot of the view, so that they always add up."""

from aiohttp import web

from gateway.answers import json_answer
from gateway.keys import CATALOGUES, FLEET, VIEW
from gateway.records import concurrent_of, info_of, statistics_of
from schemas.times import utc_now


async def show(request: web.Request) -> web.Response:
    """Cumulative counts by status and program."""
    statistics = await request.app[VIEW].statistics()
    settings = request.app[CATALOGUES].current.settings
    return json_answer(statistics_of(statistics, max_executions=settings.max_executions))


async def show_info(request: web.Request) -> web.Response:
    """How many records are held, and how many may be."""
    held = await request.app[VIEW].held()
    return json_answer(info_of(held, max_executions=request.app[CATALOGUES].current.settings.max_executions))


async def show_concurrent(request: web.Request) -> web.Response:
    """What runs now."""
    running = await request.app[VIEW].running()
    # Before any runner is known, what one alone would run.
    most = request.app[FLEET].capacity() or request.app[CATALOGUES].current.settings.max_concurrent_executions
    return json_answer(concurrent_of(running, max_concurrent=most, now=utc_now()))
