"""``/``: what this is."""

from aiohttp import web

from gateway.answers import json_answer
from gateway.keys import VERSION


async def show(request: web.Request) -> web.Response:
    """Name, version and status of the service."""
    return json_answer(
        {"message": "PyExecutorHub", "version": request.app[VERSION], "status": "running", "container": "docker"}
    )
