"""Which part of a list a request asks for. Pure."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from multidict import MultiMapping
from yarl import URL

from bus.messages import DeadReason
from gateway import problems
from gateway.errors import Refused
from gateway.lookup import TOP
from schemas.catalogue import Catalogue
from schemas.executions import Wanted
from schemas.status import Status
from schemas.times import to_utc

_T = TypeVar("_T")

#: Executions on a page, where the request does not say.
LISTED = 100
#: Most executions on a page.
MOST_LISTED = 200


@dataclass(frozen=True, slots=True)
class PageQuery:
    """One page."""

    limit: int
    wanted: Wanted
    before: int | None


def page_query(query: MultiMapping[str], catalogue: Catalogue) -> PageQuery:
    """The page that the parameters ``limit``, ``cursor``, ``status``, ``program``, ``since`` and ``until`` name.

    Raises:
        Refused: 422, naming the parameter that can't be used and what it must be.
    """
    return PageQuery(
        limit=_read(query, "limit", _limit, f"a whole number from 1 to {MOST_LISTED}") or LISTED,
        wanted=Wanted(
            status=_read(query, "status", Status, f"one of {', '.join(Status)}"),
            program_ids=_read(query, "program", lambda name: _names(name, catalogue), "the id or key of a program"),
            since=_read(query, "since", _time, "a time with its offset, such as 2026-01-31T12:00:00Z"),
            until=_read(query, "until", _time, "a time with its offset, such as 2026-01-31T12:00:00Z"),
        ),
        before=_read(query, "cursor", _place, "taken from the Link header of the page before"),
    )


@dataclass(frozen=True, slots=True)
class DeadLetterQuery:
    """One page of dead letters."""

    limit: int
    reason: DeadReason | None
    before: int | None


def dead_letter_query(query: MultiMapping[str]) -> DeadLetterQuery:
    """The page that the parameters ``limit``, ``cursor`` and ``reason`` name.

    Raises:
        Refused: 422, naming the parameter that can't be used and what it must be.
    """
    return DeadLetterQuery(
        limit=_read(query, "limit", _limit, f"a whole number from 1 to {MOST_LISTED}") or LISTED,
        reason=_read(query, "reason", DeadReason, f"one of {', '.join(DeadReason)}"),
        before=_read(query, "cursor", _place, "taken from the Link header of the page before"),
    )


def next_page(url: URL, place: int) -> URL:
    """The address of the page that begins at this place, with the same filters."""
    cursor = base64.urlsafe_b64encode(str(place).encode()).decode().rstrip("=")
    return url.update_query(cursor=cursor)


def _read(query: MultiMapping[str], name: str, parse: Callable[[str], _T], otherwise: str) -> _T | None:
    values = query.getall(name, [])
    if not values:
        return None
    try:
        if len(values) > 1:
            raise ValueError
        return parse(values[0])
    except ValueError as error:
        raise Refused(
            problems.invalid_request([{"loc": ["query", name], "msg": f"Input should be {otherwise}", "type": name}])
        ) from error


def _limit(text: str) -> int:
    limit = _digits(text)
    if not 1 <= limit <= MOST_LISTED:
        raise ValueError
    return limit


def _digits(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ValueError
    return int(text)


def _names(name: str, catalogue: Catalogue) -> frozenset[str]:
    if not name:
        raise ValueError
    # Until a runner has said the canonical id, an execution has the name that its command used.
    program = catalogue.find(name)
    return frozenset({name}) if program is None else frozenset({program.id, program.key})


def _time(text: str) -> datetime:
    # A "+" that was not written as %2B arrives as a blank.
    moment = datetime.fromisoformat(text.replace(" ", "+"))
    if moment.tzinfo is None:
        raise ValueError
    return to_utc(moment)


def _place(text: str) -> int:
    try:
        place = _digits(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii"))
    except (binascii.Error, UnicodeError) as error:
        raise ValueError from error
    if place > TOP:
        raise ValueError
    return place
