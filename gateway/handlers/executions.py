"""``/execute`` and ``/executions``: ask for a run, and see what became of it."""

import re
from contextlib import suppress

from aiohttp import web

from bus.errors import BusUnavailable
from gateway import problems
from gateway.answers import json_answer
from gateway.bodies import ExecuteBody, read_body
from gateway.errors import Refused, ViewUnavailable
from gateway.keys import CATALOGUES, CLEANUPS, INTAKE, LOOKUP, USERNAME, WAITS
from gateway.page_query import next_page, page_query
from gateway.records import logs_of, record_of
from gateway.waits import MAX_WAIT_SECONDS
from schemas.executions import Execution
from schemas.ids import is_execution_id
from schemas.output import Output
from schemas.times import utc_now

_WAIT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")


async def create(request: web.Request) -> web.Response:
    """Accept an execution: 202, or 200 with its record where its end was seen within ``?wait=`` seconds."""
    wait_seconds = _wait_seconds(request)
    body = await read_body(request, ExecuteBody)
    accepted = await request.app[INTAKE].accept(body.program_id, body.parameters, submitted_by=request[USERNAME])
    if await request.app[WAITS].ended(accepted.execution_id, wait_seconds):
        # Accepted is accepted: if the record can't be read after all, that is no error of this request.
        with suppress(ViewUnavailable, Refused):
            execution, output = await _find(request, accepted.execution_id)
            return json_answer(record_of(execution, output))
    return json_answer(
        {
            "execution_id": accepted.execution_id,
            "program_id": body.program_id,
            "status": "queued",
            "message": f"Program '{body.program_id}' queued for execution",
            "timestamp": accepted.accepted_at.isoformat(),
        },
        status=202,
        headers={"Location": f"/executions/{accepted.execution_id}"},
    )


async def list_newest(request: web.Request) -> web.Response:
    """The newest executions, the newest first; the header ``Link`` leads to the next page where there is one."""
    asked = page_query(request.query, request.app[CATALOGUES].current)
    page = await request.app[LOOKUP].page(asked.limit, asked.wanted, asked.before)
    link = {} if page.next is None else {"Link": f'<{next_page(request.rel_url, page.next)}>; rel="next"'}
    return json_answer([record_of(execution, output) for execution, output in page.rows], headers=link)


async def clean_up(request: web.Request) -> web.Response:
    """Remove the records of all finished executions. Statistics stay, and so does everything that waits or runs."""
    try:
        cleaned_up = await request.app[CLEANUPS].clean_up(requested_by=request[USERNAME])
    except TimeoutError as error:
        raise Refused(problems.cleanup_pending()) from error
    except BusUnavailable as error:
        raise Refused(problems.unconfirmed() if error.outcome_unknown else problems.bus_unavailable()) from error
    return json_answer(
        {
            "message": "Manual cleanup completed",
            "removed_executions": cleaned_up.removed,
            "remaining_executions": cleaned_up.remaining,
            "max_executions": request.app[CATALOGUES].current.settings.max_executions,
        }
    )


async def show(request: web.Request) -> web.Response:
    """One execution."""
    execution, output = await _find(request, request.match_info["execution_id"])
    return json_answer(record_of(execution, output))


async def show_logs(request: web.Request) -> web.Response:
    """What one execution wrote, and how long it took."""
    execution, output = await _find(request, request.match_info["execution_id"])
    return json_answer(logs_of(execution, output, now=utc_now()))


async def _find(request: web.Request, execution_id: str) -> tuple[Execution, Output]:
    found = await request.app[LOOKUP].find(execution_id) if is_execution_id(execution_id) else None
    if found is None:
        raise Refused(problems.execution_not_found())
    return found


def _wait_seconds(request: web.Request) -> float:
    values = request.query.getall("wait", ["0"])
    if len(values) == 1 and _WAIT.fullmatch(values[0]) and (seconds := float(values[0])) <= MAX_WAIT_SECONDS:
        return seconds
    message = f"Input should be a number of seconds from 0 to {MAX_WAIT_SECONDS}"
    raise Refused(problems.invalid_request([{"loc": ["query", "wait"], "msg": message, "type": "seconds"}]))
