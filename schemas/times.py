"""Points in time: always aware, always UTC."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """The time now, aware and in UTC. For stamps only: limits are measured with a monotonic clock."""
    return datetime.now(UTC)


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
