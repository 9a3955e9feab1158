"""Points in time: always aware, always UTC."""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEGAN_AT, _BEGAN = datetime.now(UTC), time.monotonic()


def utc_now() -> datetime:
    """The time now, aware and in UTC. For stamps only: limits are measured with a monotonic clock."""
    return datetime.now(UTC)


def steady_now() -> datetime:
    """About the time now, for ages: it passes evenly while the process lives, however somebody sets the clock."""
    return _BEGAN_AT + timedelta(seconds=time.monotonic() - _BEGAN)


def to_utc(moment: datetime) -> datetime:
    """The same point in time, expressed in UTC.

    Raises:
        ValueError: it lies outside the years 1 to 9999 there.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time lies outside the years 1 to 9999") from error


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


#: A point in time; a naive one is refused, one with another offset becomes UTC.
Time = Annotated[AwareDatetime, AfterValidator(to_utc)]
