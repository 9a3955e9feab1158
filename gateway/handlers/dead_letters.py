"""``/dead-letters``: commands that nobody will run; look into them, run them again, or let go of them."""

import structlog
from aiohttp import web

from bus.errors import BusError, BusUnavailable
from bus.messages import DeadLetter, Message
from gateway import dead_letter_problems, problems
from gateway.answers import json_answer
from gateway.bodies import ExecuteBody, read_body
from gateway.dead_letter_records import record_of, row_of
from gateway.errors import Refused
from gateway.keys import DEAD_LETTERS, INTAKE, USERNAME
from gateway.page_query import dead_letter_query, next_page
from gateway.redrive import redrive
from schemas.failpoints import failpoint

log = structlog.get_logger()


async def list_newest(request: web.Request) -> web.Response:
    """The newest ones, the newest first; the header ``Link`` leads to the next page where there is one."""
    asked = dead_letter_query(request.query)
    page = await request.app[DEAD_LETTERS].page(asked.limit, reason=asked.reason, before=asked.before)
    link = {} if page.next is None else {"Link": f'<{next_page(request.rel_url, page.next)}>; rel="next"'}
    return json_answer([row_of(letter) for letter in page.letters], headers=link)


async def show(request: web.Request) -> web.Response:
    """One, with its body."""
    return json_answer(record_of(*await _find(request)))


async def run_again(request: web.Request) -> web.Response:
    """Accept a new execution of what it asked for, or of what the request's body asks for instead; then it is gone.

    A crash in between leaves it there: asked again, it is the same execution.
    """
    body = await read_body(request, ExecuteBody) if request.body_exists else None
    letter, message = await _find(request)
    again = redrive(letter, message, body)
    accepted = await request.app[INTAKE].accept(
        again.program_id, again.parameters, submitted_by=request[USERNAME], redrive=again
    )
    try:
        await request.app[DEAD_LETTERS].remove(letter.id)
        failpoint("gateway.letter_redriven")
    except BusError as error:
        # Accepted is accepted. Whoever redrives it again gets the same execution.
        log.warning("a redriven dead letter is still there", action="dead_letter_left", id=letter.id, error=str(error))
    log.info("dead letter redriven", action="dead_letter_redriven", id=letter.id, execution_id=accepted.execution_id)
    return json_answer(
        {
            "execution_id": accepted.execution_id,
            "program_id": again.program_id,
            "status": "queued",
            "message": f"Program '{again.program_id}' queued for execution",
            "timestamp": accepted.accepted_at.isoformat(),
            "redrive_of": again.redrive_of,
        },
        status=202,
        headers={"Location": f"/executions/{accepted.execution_id}"},
    )


async def discard(request: web.Request) -> web.Response:
    """Remove it, for good."""
    letter_id = request.match_info["letter_id"]
    try:
        found = await request.app[DEAD_LETTERS].remove(letter_id)
        failpoint("gateway.letter_discarded")
    except BusUnavailable as error:
        raise Refused(problems.unconfirmed() if error.outcome_unknown else problems.bus_unavailable()) from error
    if not found:
        raise Refused(dead_letter_problems.dead_letter_not_found())
    log.info("dead letter discarded", action="dead_letter_discarded", id=letter_id, by=request[USERNAME])
    return web.Response(status=204)


async def _find(request: web.Request) -> tuple[DeadLetter, Message]:
    found = await request.app[DEAD_LETTERS].find(request.match_info["letter_id"])
    if found is None:
        raise Refused(dead_letter_problems.dead_letter_not_found())
    return found
