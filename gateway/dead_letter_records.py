"""Dead letters as HTTP shows them. Pure."""

import base64
from typing import Any

from bus.messages import DeadLetter, Message
from gateway.errors import Refused
from gateway.redrive import redrive
from schemas.commands import MAX_COMMAND_BYTES
from schemas.printable import printable


def row_of(letter: DeadLetter) -> dict[str, Any]:
    """What the list shows. ``detail`` and ``preview`` are for people: control characters are escapes there."""
    return {
        "id": letter.id,
        "reason": letter.reason.value,
        "detail": printable(letter.detail),
        "routing_key": letter.key,
        "dead_at": None if letter.dead_at is None else letter.dead_at.isoformat(),
        "message_id": letter.message_id,
        "size_bytes": letter.size,
        "preview": printable(letter.preview.decode("utf-8", "backslashreplace")),
    }


def record_of(letter: DeadLetter, message: Message) -> dict[str, Any]:
    """One of them, with its body up to the length that a command may have."""
    body, encoding = _text(message.body[:MAX_COMMAND_BYTES])
    try:
        redrive(letter, message, None)
    except Refused:
        redrivable = False
    else:
        redrivable = True
    return row_of(letter) | {
        "redrivable": redrivable,
        "body": body,
        "body_encoding": encoding,
        "body_truncated": len(message.body) > MAX_COMMAND_BYTES,
    }


def _text(body: bytes) -> tuple[str, str]:
    try:
        return body.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode("ascii"), "base64"
