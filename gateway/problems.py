"""Problems: what an error looks like over HTTP (RFC 9457). ``detail`` is the seed's message."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

CONTENT_TYPE = "application/problem+json"

#: Seconds after which a caller may try again when the bus is away, or a queue is full.
RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One refusal, as the caller gets to see it."""

    status: int
    #: Last part of the type's address, which never changes; ``None`` where the status says it all.
    slug: str | None = None
    title: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Further members of the document.
    members: Mapping[str, object] = field(default_factory=dict)

    def document(self, *, request_id: str) -> dict[str, object]:
        """The problem as JSON."""
        return {
            "type": f"/problems/{self.slug}" if self.slug else "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
            "request_id": request_id,
        }


def of_status(status: int, *, detail: str | None = None, headers: Mapping[str, str] | None = None) -> Problem:
    """The problem of a bare HTTP status, such as the router's 404 and 405."""
    phrase = HTTPStatus(status).phrase
    return Problem(
        status=status,
        slug=phrase.lower().replace(" ", "-").replace("'", ""),
        title=phrase,
        detail=detail or phrase,
        headers=headers or {},
    )


def _unauthenticated(slug: str, title: str, detail: str) -> Problem:
    return Problem(status=401, slug=slug, title=title, detail=detail, headers={"WWW-Authenticate": "Bearer"})


def not_authenticated() -> Problem:
    """No bearer token came with the request."""
    return _unauthenticated("not-authenticated", "A token is needed", "Not authenticated")


def invalid_token() -> Problem:
    """The token is not one of ours, or not valid any more."""
    return _unauthenticated("invalid-token", "The token is not valid", "Could not validate credentials")


def wrong_credentials() -> Problem:
    """User or password is wrong; which of them is not said."""
    return _unauthenticated("wrong-credentials", "Login failed", "Incorrect username or password")


def too_many_logins(wait_seconds: float) -> Problem:
    """Too many logins failed of late."""
    retry_after = max(1, math.ceil(wait_seconds))
    return Problem(
        status=429,
        slug="too-many-logins",
        title="Too many login attempts",
        detail=f"Too many login attempts. Try again in {retry_after} s.",
        headers={"Retry-After": str(retry_after)},
    )


def no_policy() -> Problem:
    """The route says nothing about who may use it, so nobody may."""
    return Problem(status=403, slug="no-policy", title="Forbidden", detail="Nobody may use this route")


def program_not_found(name: str) -> Problem:
    """No program of the catalogue has this id or key."""
    return Problem(
        status=404,
        slug="program-not-found",
        title="No such program",
        detail=f"Program with ID '{name}' not found",
    )


def program_disabled(name: str) -> Problem:
    """The program is in the catalogue, but switched off."""
    return Problem(status=400, slug="program-disabled", title="The program is disabled", detail=f"Program '{name}' is disabled")


def idempotency_key_reused(execution_id: str) -> Problem:
    """The key names an execution that was asked for with another body."""
    return Problem(
        status=422,
        slug="idempotency-key-reused",
        title="The idempotency key was used for another request",
        detail="The idempotency key was used for another program, or for other parameters. Use a new key for a new request.",
        members={"execution_id": execution_id},
    )


def execution_removed(execution_id: str, status: str) -> Problem:
    """The key names an execution whose record was removed."""
    return Problem(
        status=410,
        slug="execution-removed",
        title="The execution's record was removed",
        detail=f"The execution of this idempotency key has ended ({status}), and its record was removed. Nothing was started.",
        members={"execution_id": execution_id, "execution_status": status},
    )


def execution_not_found() -> Problem:
    """No execution has this id."""
    return Problem(status=404, slug="execution-not-found", title="No such execution", detail="Execution not found")


def invalid_request(errors: Sequence[Mapping[str, object]]) -> Problem:
    """The request does not have the shape it must have. Each error has ``loc``, ``msg`` and ``type``."""
    said = "; ".join(f"{'.'.join(str(part) for part in _sequence(error['loc']))}: {error['msg']}" for error in errors)
    return Problem(
        status=422,
        slug="invalid-request",
        title="The request is not valid",
        detail=f"The request is not valid: {said}",
        members={"errors": list(errors)},
    )


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else [value]


def invalid_body(message: str, kind: str) -> Problem:
    """The body as a whole can't be read; ``kind`` is a stable word for how."""
    return invalid_request([{"loc": ["body"], "msg": message, "type": kind}])


def unsupported_media_type() -> Problem:
    """The body is not declared as plain JSON."""
    return of_status(415, detail="Send the body as JSON, with the header Content-Type: application/json, uncompressed")


def body_too_large(limit_bytes: int) -> Problem:
    """The body is longer than any request needs."""
    return of_status(413, detail=f"The body is too large: at most {limit_bytes} bytes are allowed")


def body_too_slow() -> Problem:
    """The body did not arrive in time."""
    return of_status(408, detail="The body did not arrive in time", headers={"Connection": "close"})


def queue_full(pool: str, waiting: int) -> Problem:
    """As many commands wait as may wait."""
    return Problem(
        status=429,
        slug="queue-full",
        title="The queue is full",
        detail=f"The queue of pool '{pool}' is full: {waiting} executions wait. Nothing was accepted; try again later.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def concurrency_limit(limit: int) -> Problem:
    """As many executions run as may, and the program would rather not wait."""
    return Problem(
        status=429,
        slug="concurrency-limit",
        title="As many executions run as may",
        detail=f"Maximum concurrent executions ({limit}) reached. Please wait for some executions to complete.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def fleet_busy() -> Problem:
    """Too many ask the runners at the same time."""
    return Problem(
        status=429,
        slug="fleet-busy",
        title="The runners are being asked already",
        detail="Too many requests wait for the runners' answers. Please try again.",
        headers={"Retry-After": "1"},
    )


def too_many_followers() -> Problem:
    """As many follow executions as may."""
    return Problem(
        status=429,
        slug="too-many-followers",
        title="Too many follow already",
        detail="Too many requests follow executions. Please try again, or ask for /executions/{id}/logs.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def unknown_pool(pool: str) -> Problem:
    """The program belongs to a pool that has no queue."""
    return Problem(
        status=422,
        slug="unknown-pool",
        title="The program's pool has no queue",
        detail=f"Pool '{pool}' has no work queue, so nothing was accepted. Restart the services with this config.yaml.",
    )


def bus_unavailable() -> Problem:
    """The bus is away, and nothing was accepted."""
    return Problem(
        status=503,
        slug="bus-unavailable",
        title="The message bus is not available",
        detail="The message bus is not available. Nothing was accepted; try again later.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def no_room() -> Problem:
    """The disk that must remember what is accepted is almost full."""
    return Problem(
        status=503,
        slug="disk-full",
        title="The disk is full",
        detail="The hub's disk is almost full. Nothing was accepted; try again when there is room, /health says how much.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def outcome_unknown(execution_id: str) -> Problem:
    """The bus did not say whether it took the command."""
    location = f"/executions/{execution_id}"
    return Problem(
        status=503,
        slug="outcome-unknown",
        title="The message bus did not confirm",
        detail=f"The message bus did not confirm the execution, which may run all the same: look at {location} later.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS), "Location": location},
        members={"outcome": "unknown", "execution_id": execution_id},
    )


def unconfirmed() -> Problem:
    """The bus did not say whether it took a request that has no execution."""
    return Problem(
        status=503,
        slug="outcome-unknown",
        title="The message bus did not confirm",
        detail="The message bus did not confirm in time. It may have been done all the same; asking again does no harm.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        members={"outcome": "unknown"},
    )


def view_behind() -> Problem:
    """Too many accepted executions are not in the view yet."""
    return Problem(
        status=503,
        slug="view-behind",
        title="The record of executions lags behind",
        detail="Too many accepted executions are not recorded yet. Nothing was accepted; try again later.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def cleanup_pending() -> Problem:
    """The cleanup is in the log, and the record here has not come to it."""
    return Problem(
        status=503,
        slug="cleanup-pending",
        title="The cleanup is under way",
        detail="The cleanup was accepted, and the record of executions has not come to it yet; asking again does no harm.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def view_unavailable() -> Problem:
    """The view can't be read."""
    return Problem(
        status=503,
        slug="view-unavailable",
        title="The record of executions can't be read",
        detail="The record of executions can't be read now; try again later.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def not_ready(problems: Mapping[str, str]) -> Problem:
    """No execution can be accepted now."""
    return Problem(
        status=503,
        slug="not-ready",
        title="Not ready",
        detail="The hub can't accept executions now",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        members={"problems": dict(problems)},
    )
