"""What is no HTTP request, or one too large to be looked at, answered in the same form as everything else."""

import re
from typing import Any
from uuid import uuid4

import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from gateway import problems
from gateway.answers import problem_answer
from gateway.problems import Problem

log = structlog.get_logger()

#: Bytes of a header, or of the line that names the path.
MAX_LINE_BYTES = 8190
#: Headers of a request.
MAX_HEADERS = 128

_TOO_MANY_HEADERS = "Too many headers"
_UNPRINTABLE = re.compile(r"[^ -~]+")


class Connection(web.RequestHandler):
    """One caller's connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What no route gets to see: bytes that are no request. The connection is closed after the answer."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        problem = _problem_of(status, exc)
        request_id = uuid4().hex
        # Strangers send these, as many as they like: a short line, and nothing in it that a terminal would obey.
        log.info(
            "not a request",
            action="request_not_understood",
            request_id=request_id,
            status=problem.status,
            why=_UNPRINTABLE.sub("?", str(message or exc))[:200],
        )
        answer = problem_answer(problem, request_id=request_id)
        answer.headers["X-Request-ID"] = request_id
        # Else the library names itself and its version.
        answer.headers["Server"] = "pyexecutorhub"
        answer.force_close()
        return answer


class Connections(web.Server):
    """Makes a :class:`Connection` for each caller."""

    def __call__(self) -> Connection:
        """A connection that was just made."""
        return Connection(self, loop=self._loop, **self._kwargs)


class ConnectionsRunner(web.AppRunner):
    """Runs an application on :class:`Connections`."""

    def __init__(self, app: web.Application, *, shutdown_seconds: float, **options: Any) -> None:
        """``options`` are those of each connection."""
        super().__init__(app, shutdown_timeout=shutdown_seconds)
        self._options = options

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return Connections(
            made.request_handler,
            request_factory=made.request_factory,
            # A caller that leaves ends its request: a wait for its answer would otherwise go on for minutes.
            handler_cancellation=True,
            access_log=None,
            # Bodies are small and come as they are; what is compressed is refused, not unpacked.
            auto_decompress=False,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            **self._options,
        )


def _problem_of(status: int, error: BaseException | None) -> Problem:
    if isinstance(error, LineTooLong) or _TOO_MANY_HEADERS in str(error):
        return problems.of_status(
            431,
            detail=f"The path or a header is longer than {MAX_LINE_BYTES} bytes, or there are more than {MAX_HEADERS} headers",
        )
    if isinstance(error, BadHttpMessage):
        return problems.of_status(400, detail="This is not an HTTP request that can be understood")
    return problems.of_status(status)
