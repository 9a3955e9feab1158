"""Reading what foreign publishers write into AMQP's properties, without falling over it."""

import datetime
import struct
from typing import Any

from pamqp import decode


def tolerate_foreign_properties() -> None:
    """Make the AMQP library read any bytes that RabbitMQ lets through in a message's properties. Safe to repeat.

    RabbitMQ does not look into them, and the library raises at text that is not UTF-8, at a time after the year 9999 and at
    deeply nested headers, which ends the connection. The message would come again on the next one: whoever may publish a
    command could keep every reader of the log away for ever. What is unreadable is replaced or left out instead.
    """
    decode.METHODS["shortstr"] = _short_text
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = _time
    decode.METHODS["table"] = _headers


def _short_text(value: bytes) -> tuple[int, str]:
    length = value[0]
    text = value[1 : length + 1].decode("utf-8", errors="replace")
    # One byte for each that can't be read: the text may travel on, and must not have become too long for that.
    return length + 1, text.replace("\ufffd", "?")


def _time(value: bytes) -> tuple[int, datetime.datetime | None]:
    try:
        return decode.timestamp(value)
    except (ValueError, OverflowError, OSError):
        return 8, None


def _headers(value: bytes) -> tuple[int, dict[str, Any]]:
    try:
        return decode.field_table(value)
    except (ValueError, RecursionError):
        (length,) = struct.unpack_from(">I", value)
        return 4 + length, {}
