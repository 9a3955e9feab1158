"""``/execute`` and ``/executions``: ask for a run, and see what became of it."""

import re
from contextlib import suppress

from aiohttp import web

from bus.errors import BusUnavailable
from gateway import problems, token_problems
from gateway.answers import json_answer
from gateway.bodies import CancelBody, ExecuteBody, read_body, read_optional_body
from gateway.errors import Refused, ViewUnavailable
from gateway.intake import Accepted
from gateway.keyed_ids import is_key
from gateway.keys import CALLER, CANCELS, CATALOGUES, CLEANUPS, INTAKE, LOOKUP, USERNAME, WAITS
from gateway.page_query import next_page, page_query
from gateway.parameters import IDEMPOTENCY_KEY
from gateway.records import logs_of, record_of
from gateway.waits import MAX_WAIT_SECONDS
from schemas.executions import Execution
from schemas.ids import is_execution_id
from schemas.output import Output
from schemas.status import Status
from schemas.times import utc_now
from schemas.tokens import Scope

#: On the answer to a request whose key was used before.
_REPLAYED = "Idempotency-Replayed"
_ATTEMPT = re.compile(r"[1-9][0-9]?")
_WAIT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")


async def create(request: web.Request) -> web.Response:
    """Accept an execution: 202, or 200 with its record where its end was seen within ``?wait=`` seconds.

    With an idempotency key that was used before, what became of that execution.
    """
    wait_seconds = _wait_seconds(request)
    body = await read_body(request, ExecuteBody)
    accepted = await request.app[INTAKE].accept(
        body.program_id, body.parameters, submitted_by=request[USERNAME], idempotency_key=_idempotency_key(request, body)
    )
    replayed = {_REPLAYED: "true"} if accepted.replayed else {}
    if (ended := await _ended(request, accepted, wait_seconds)) is not None:
        execution, output = ended
        # Another gateway may have accepted something else under the key in the same moment, and its request came first.
        if None not in (execution.digest, accepted.digest) and execution.digest != accepted.digest:
            raise Refused(problems.idempotency_key_reused(execution.execution_id))
        return json_answer(record_of(execution, output), headers=replayed)
    state = "queued for execution" if accepted.status is Status.QUEUED else accepted.status.value
    return json_answer(
        {
            "execution_id": accepted.execution_id,
            "program_id": body.program_id,
            "status": accepted.status.value,
            "message": f"Program '{body.program_id}' {state}",
            "timestamp": accepted.accepted_at.isoformat(),
        },
        status=202,
        headers={"Location": f"/executions/{accepted.execution_id}", **replayed},
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


async def cancel(request: web.Request) -> web.Response:
    """Ask for its end: 202 with the record as it stands, or 200 where it has ended already, as whatever it ended."""
    body = await read_optional_body(request, CancelBody)
    execution, output = await _find(request, request.match_info["execution_id"])
    caller = request[CALLER]
    if caller.scope is Scope.RUN and execution.submitted_by != caller.name:
        raise Refused(token_problems.not_yours())
    if not execution.status.is_terminal:
        await request.app[CANCELS].cancel(execution.execution_id, requested_by=caller.name, why=body.reason)
        # It may have ended meanwhile, by this or by itself.
        execution, output = await _find(request, execution.execution_id)
    return json_answer(record_of(execution, output), status=200 if execution.status.is_terminal else 202)


async def show_logs(request: web.Request) -> web.Response:
    """What one execution wrote, and how long it took; with ``?attempt=``, what that attempt of it did."""
    execution, output = await _find(request, request.match_info["execution_id"])
    number = request.query.get("attempt", str(execution.attempt))
    if number != str(execution.attempt):
        earlier = execution.as_of(int(number)) if _ATTEMPT.fullmatch(number) else None
        if earlier is None:
            message = "Input should be the number of an attempt of this execution"
            raise Refused(problems.invalid_request([{"loc": ["query", "attempt"], "msg": message, "type": "attempt"}]))
        execution, output = earlier, await request.app[LOOKUP].earlier_output(execution.execution_id, earlier.attempt)
    return json_answer(logs_of(execution, output, now=utc_now()))


async def _ended(request: web.Request, accepted: Accepted, wait_seconds: float) -> tuple[Execution, Output] | None:
    """The execution, if it has ended or does so in time."""
    if not accepted.status.is_terminal and not await request.app[WAITS].ended(accepted.execution_id, wait_seconds):
        return None
    # Accepted is accepted: if the record can't be read after all, that is no error of this request.
    with suppress(ViewUnavailable, Refused):
        return await _find(request, accepted.execution_id)
    return None


async def _find(request: web.Request, execution_id: str) -> tuple[Execution, Output]:
    found = await request.app[LOOKUP].find(execution_id) if is_execution_id(execution_id) else None
    if found is None:
        raise Refused(problems.execution_not_found())
    return found


def _idempotency_key(request: web.Request, body: ExecuteBody) -> str | None:
    sent = request.headers.getall(IDEMPOTENCY_KEY, [])
    if not sent:
        return body.idempotency_key
    if len(sent) > 1 or not is_key(sent[0]):
        message = "Input should be 1 to 255 printable ASCII characters, once"
        raise Refused(problems.invalid_request([{"loc": ["header", IDEMPOTENCY_KEY], "msg": message, "type": "key"}]))
    if body.idempotency_key not in (None, sent[0]):
        message = f"Input should be the same as the header {IDEMPOTENCY_KEY}, or left out"
        raise Refused(problems.invalid_request([{"loc": ["body", "idempotency_key"], "msg": message, "type": "key"}]))
    return sent[0]


def _wait_seconds(request: web.Request) -> float:
    values = request.query.getall("wait", ["0"])
    if len(values) == 1 and _WAIT.fullmatch(values[0]) and (seconds := float(values[0])) <= MAX_WAIT_SECONDS:
        return seconds
    message = f"Input should be a number of seconds from 0 to {MAX_WAIT_SECONDS}"
    raise Refused(problems.invalid_request([{"loc": ["query", "wait"], "msg": message, "type": "seconds"}]))
