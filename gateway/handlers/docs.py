"""``/docs`` and ``/openapi.json``: what this interface is. They tell nothing of what runs here."""

from aiohttp import web

from gateway.answers import json_answer
from gateway.keys import DOCUMENT, PAGE
from gateway.reference_page import POLICY


async def show_document(request: web.Request) -> web.Response:
    """The OpenAPI document."""
    return json_answer(request.app[DOCUMENT])


async def show_page(request: web.Request) -> web.Response:
    """The same for people, as one page without scripts."""
    return web.Response(text=request.app[PAGE], content_type="text/html", headers={"Content-Security-Policy": POLICY})
