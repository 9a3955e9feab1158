"""Sizes, durations and processor shares as config.yaml and the environment write them, read the way Docker reads them."""

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BeforeValidator

from schemas.errors import BadQuantity

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
#: Docker's units are powers of 1024, whatever the letter's case ("1g" is 1073741824 bytes).
_MEMORY_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}

_LEAST_MEMORY = 6 * 1024**2

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_DURATION_UNITS = (3600.0, 60.0, 1.0, 0.001)


def parse_bytes(value: object) -> int:
    """Bytes from a number of bytes or from Docker's spelling: ``512m``, ``1g``, ``1.5gb``.

    Raises:
        BadQuantity: it is neither, or not above zero.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _MEMORY.fullmatch(value.strip())):
        size = int(Decimal(match[1]) * _MEMORY_UNITS[match[2].lower()])
    else:
        raise BadQuantity(f"{value!r} is not a size: write bytes, or a number with k, m, g or t, as in 512m or 1g")
    if size <= 0:
        raise BadQuantity(f"{value!r} is not a size: it must be above zero")
    return size


def parse_memory(value: object) -> int:
    """Bytes of a container's memory, written as :func:`parse_bytes` reads them.

    Raises:
        BadQuantity: it is no size, or too small for Docker.
    """
    size = parse_bytes(value)
    # Docker refuses less when the container is made: say so at configuration instead.
    if size < _LEAST_MEMORY:
        raise BadQuantity(f"{value!r} is not enough memory: a container needs at least 6m")
    return size


def parse_seconds(value: object) -> float:
    """Seconds from a number of seconds or from Go's spelling: ``300``, ``5m``, ``1h30m``, ``1.5s``, ``250ms``.

    Raises:
        BadQuantity: it is neither, or not above zero.
    """
    if isinstance(value, str):
        value = value.strip()
    if (isinstance(value, int | float) and not isinstance(value, bool)) or (
        isinstance(value, str) and _NUMBER.fullmatch(value)
    ):
        seconds = float(value)
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)) and any(match.groups()):
        parts = zip(match.groups(), _DURATION_UNITS, strict=True)
        seconds = sum(float(part) * unit for part, unit in parts if part)
    else:
        raise BadQuantity(f"{value!r} is not a duration: write seconds, or a number with h, m, s or ms, as in 300 or 5m")
    # The upper bound also turns away infinity and not-a-number; a year is longer than anything that runs here.
    if not 0 < seconds <= 366 * 86400:
        raise BadQuantity(f"{value!r} is not a duration: it must be above zero and at most a year")
    return seconds


def parse_nano_cpus(value: object) -> int:
    """Billionths of a processor, Docker's unit, from a number of processors: ``0.5``, ``"2"``.

    Raises:
        BadQuantity: it is no number, or not above zero.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadQuantity(f"{value!r} is not a number of processors: write a number such as 0.5 or 2")
    try:
        nano = int(Decimal(str(value).strip()) * 1_000_000_000)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise BadQuantity(f"{value!r} is not a number of processors: write a number such as 0.5 or 2") from error
    # Docker refuses less than a thousandth of a processor at start: say so at configuration instead.
    if not 1_000_000 <= nano <= 1_000_000_000_000:
        raise BadQuantity(f"{value!r} is not a number of processors: it must be between 0.001 and 1000")
    return nano


#: Bytes; read from "512m" and the like.
Bytes = Annotated[int, BeforeValidator(parse_bytes)]
#: Bytes of a container's memory; read from "512m" and the like.
Memory = Annotated[int, BeforeValidator(parse_memory)]
#: Seconds; read from "5m" and the like.
Seconds = Annotated[float, BeforeValidator(parse_seconds)]
#: Billionths of a processor; read from "0.5" and the like.
NanoCpus = Annotated[int, BeforeValidator(parse_nano_cpus)]
