"""``/executions/{id}/logs/stream``: an execution as it goes."""

import asyncio
from contextlib import aclosing

import structlog
from aiohttp import web

from gateway import problems, sse
from gateway.errors import Refused
from gateway.followers import END
from gateway.keys import FOLLOWERS, LOOKUP
from gateway.parameters import LAST_EVENT_ID
from schemas.following import Place
from schemas.ids import is_execution_id

log = structlog.get_logger()

#: Seconds in which a follower must read on. Meanwhile it costs its connection, and nothing is kept for it.
STALLED_SECONDS = 30.0


async def stream(request: web.Request) -> web.StreamResponse:
    """Its statuses and its output as they come, until it has ended; 204 to whoever has seen all of it."""
    execution_id = request.match_info["execution_id"]
    place = _place(request)
    if not is_execution_id(execution_id) or await request.app[LOOKUP].find(execution_id) is None:
        raise Refused(problems.execution_not_found())
    if place is None:
        # A browser that is told so comes back no more.
        return web.Response(status=204)
    events = request.app[FOLLOWERS].follow(execution_id, place)
    response = web.StreamResponse(headers={"Content-Type": sse.CONTENT_TYPE, "X-Accel-Buffering": "no"})
    # Before the answer begins: whoever is one too many gets a problem.
    async with aclosing(events):
        first = await anext(events, None)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            if first is not None:
                await _write(response, first)
            async for told in events:
                await _write(response, told)
        except TimeoutError:
            log.info("a follower does not read on", action="follower_dropped", execution_id=execution_id)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the follower does not read on") from None
    await response.write_eof()
    return response


async def _write(response: web.StreamResponse, told: bytes) -> None:
    async with asyncio.timeout(STALLED_SECONDS):
        await response.write(told)


def _place(request: web.Request) -> Place | None:
    """Where the follower comes back to; ``None`` where it has seen the end."""
    sent = request.headers.getall(LAST_EVENT_ID, [])
    if not sent or sent == [""]:
        return Place()
    if sent == [END]:
        return None
    try:
        if len(sent) == 1:
            return Place.parse(sent[0])
    except ValueError:
        pass
    message = "Input should be the id of an event of this stream, once"
    raise Refused(problems.invalid_request([{"loc": ["header", LAST_EVENT_ID], "msg": message, "type": "event_id"}]))
