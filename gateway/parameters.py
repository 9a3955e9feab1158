"""Parameters of paths, queries and headers, as the OpenAPI document tells them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bus.messages import DeadReason
from gateway.keyed_ids import KEY_PATTERN
from gateway.page_query import LISTED, MOST_LISTED
from gateway.waits import MAX_WAIT_SECONDS
from schemas.status import Status


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter."""

    #: For people.
    meaning: str
    #: JSON Schema of its text.
    schema: Mapping[str, Any]


_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_TIME: Mapping[str, Any] = {"type": "string", "format": "date-time"}

WAIT = {
    "wait": Parameter(
        "seconds to wait for the end", {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS, "default": 0}
    )
}
ATTEMPT = {
    "attempt": Parameter("of this attempt; without it of the newest one", {"type": "integer", "minimum": 1, "maximum": 99})
}
IDEMPOTENCY_KEY = "Idempotency-Key"
KEY = {
    IDEMPOTENCY_KEY: Parameter(
        "for 24 hours, all requests of a caller with the same key and body are one execution",
        {"type": "string", "pattern": KEY_PATTERN},
    )
}
LAST_EVENT_ID = "Last-Event-ID"
RESUME = {
    LAST_EVENT_ID: Parameter(
        "go on after this event, the last one that came; without it from the beginning", {"type": "string"}
    )
}
READY = {"ready": Parameter("1: 503 unless an execution can be accepted now", {"type": "string", "enum": ["1", "true"]})}
PAGE = {
    "limit": Parameter("executions on a page", {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": LISTED}),
    "cursor": Parameter(
        "where the page begins, from the Link header of the one before", {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}
    ),
    "status": Parameter("only executions with this status", {"type": "string", "enum": [status.value for status in Status]}),
    "program": Parameter("only those of this program, by id or key", {"type": "string", "minLength": 1}),
    "since": Parameter("only those accepted at this time or later", _TIME),
    "until": Parameter("only those accepted before this time", _TIME),
}
DEAD_PAGE = {
    "limit": Parameter("dead letters on a page", PAGE["limit"].schema),
    "cursor": PAGE["cursor"],
    "reason": Parameter("only those of this reason", {"type": "string", "enum": [reason.value for reason in DeadReason]}),
}

#: The variable parts of paths.
IN_PATH = {
    "execution_id": Parameter("the execution", {"type": "string", "format": "uuid", "pattern": _UUID}),
    "letter_id": Parameter("the dead letter", {"type": "string", "format": "uuid", "pattern": _UUID}),
    "token_id": Parameter("the long-lived token", {"type": "string", "format": "uuid", "pattern": _UUID}),
    "term": Parameter("a part of the image's name, in whatever case", {"type": "string", "minLength": 1}),
}
#: One that needs no words.
PLAIN = Parameter("", {"type": "string", "minLength": 1})
