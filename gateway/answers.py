"""Answers in JSON."""

import json
from collections.abc import Mapping

from aiohttp import web

from gateway import problems
from gateway.problems import Problem


def _to_bytes(document: object) -> bytes:
    # A lone surrogate has no UTF-8; what backslashreplace writes for it is exactly its JSON escape.
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def json_answer(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A document as a response."""
    return web.Response(body=_to_bytes(document), status=status, headers=headers, content_type="application/json")


def problem_answer(problem: Problem, *, request_id: str) -> web.Response:
    """A problem as a response."""
    return web.Response(
        body=_to_bytes(problem.document(request_id=request_id)),
        status=problem.status,
        headers=problem.headers,
        content_type=problems.CONTENT_TYPE,
    )
