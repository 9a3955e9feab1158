"""``/containers``: what runs now, asked of the runners that live."""

from aiohttp import web

from gateway.answers import json_answer
from gateway.container_records import active_of, logs_of
from gateway.keys import FLEET


async def list_active(request: web.Request) -> web.Response:
    """The containers of this hub that run now."""
    return json_answer(active_of(await request.app[FLEET].active_containers()))


async def show_logs(request: web.Request) -> web.Response:
    """What those of one image have written lately."""
    image = request.match_info["image"]
    return json_answer(logs_of(image, await request.app[FLEET].container_logs(image)))
