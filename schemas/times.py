"""Points in time: always aware, always UTC."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


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


#: A point in time; a naive one is refused, one with another offset becomes UTC.
Time = Annotated[AwareDatetime, AfterValidator(to_utc)]
