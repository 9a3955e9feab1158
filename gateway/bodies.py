"""Bodies of requests: JSON, of a known shape, bounded in size and in time."""

import asyncio
import json
import math
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway import problems
from gateway.errors import Refused
from gateway.keyed_ids import KEY_PATTERN
from schemas.tokens import MAX_NAME_LENGTH, Scope

#: Longest body of a request, in bytes.
MAX_BODY_BYTES = 64 * 1024
#: Seconds in which a body must have arrived.
BODY_TIMEOUT_SECONDS = 10.0


class ExecuteBody(BaseModel):
    """What ``POST /execute`` takes. Fields that are not known are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    program_id: str = Field(min_length=1, max_length=128)
    parameters: dict[str, Any] = Field(default_factory=dict)
    #: The same as the header ``Idempotency-Key``, for callers that can't set one.
    idempotency_key: str | None = Field(default=None, pattern=KEY_PATTERN)


class CancelBody(BaseModel):
    """What ``POST /executions/{id}/cancel`` takes, where it has a body at all. Fields that are not known are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Why, for people.
    reason: str | None = Field(default=None, max_length=500)


class LoginBody(BaseModel):
    """What ``POST /auth/login`` takes. Fields that are not known are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    username: str = Field(max_length=256)
    password: str = Field(max_length=1024, repr=False)


class TokenBody(BaseModel):
    """What ``POST /auth/tokens`` takes. Fields that are not known are refused: a misspelled limit must not be one left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: For people: what the token is for.
    name: str = Field(min_length=1, max_length=MAX_NAME_LENGTH, pattern=r"^[\w.@ -]+$")
    scope: Scope = Scope.ALL
    #: Days until it ends by itself; without, it holds until it is revoked.
    days: int | None = Field(default=None, ge=1, le=3650)


Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: web.Request, shape: type[Body]) -> Body:
    """The body of a request.

    Raises:
        Refused: it is not plain JSON, too long, too slow, or not of that shape.
    """
    if request.content_type != "application/json" or request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(problems.unsupported_media_type())
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise Refused(problems.body_too_large(MAX_BODY_BYTES))
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            body = await request.read()
    except TimeoutError as error:
        raise Refused(problems.body_too_slow()) from error
    return _parse(body, shape)


async def read_optional_body(request: web.Request, shape: type[Body]) -> Body:
    """The same, where a request without a body means the defaults."""
    return await read_body(request, shape) if request.body_exists else shape()


def _parse(body: bytes, shape: type[Body]) -> Body:
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise Refused(problems.invalid_body(f"the body is not JSON: {why}", "not_json")) from error
    try:
        return shape.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        raise Refused(
            problems.invalid_request([{"loc": ["body", *one["loc"]], "msg": one["msg"], "type": one["type"]} for one in found])
        ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    # 1e999 is JSON, but would silently become something else on its way to the program.
    if not math.isfinite(number := float(text)):
        raise ValueError("a number is too large")
    return number
