"""What the stream of dead letters comes to: those that were not removed. Pure."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID, uuid5

from aiormq.abc import DeliveredMessage

from bus import topology
from bus.limits import MOST_PREVIEW_BYTES
from bus.messages import DeadLetter, DeadLetterPage, DeadReason
from bus.rabbitmq.stream_reader import Read

_IDS = UUID("0f9f9a38-3d6c-5b0f-8d0e-8a5e0a4b7c21")
#: As RabbitMQ names them.
_REASONS = {"expired": DeadReason.EXPIRED, "delivery_limit": DeadReason.DELIVERY_LIMIT}


class DeadLetterTable:
    """The newest dead letters, in memory, without their bodies."""

    def __init__(self, most: int = topology.DEAD_LETTERS) -> None:
        self._most = most
        #: By id, in the order of their places.
        self._letters: dict[str, DeadLetter] = {}

    def __len__(self) -> int:
        return len(self._letters)

    def add(self, letter: DeadLetter) -> None:
        """One more, the newest."""
        self._letters[letter.id] = letter
        if len(self._letters) > self._most:
            del self._letters[next(iter(self._letters))]

    def find(self, letter_id: str) -> DeadLetter | None:
        """One."""
        return self._letters.get(letter_id)

    def remove(self, letter_id: str) -> None:
        """Not there any more, if it ever was."""
        self._letters.pop(letter_id, None)

    def page(self, limit: int, reason: DeadReason | None, before: int | None) -> DeadLetterPage:
        """The newest ones, the newest first."""
        wanted = (
            letter
            for letter in reversed(self._letters.values())
            if (reason is None or letter.reason is reason) and (before is None or letter.place < before)
        )
        letters = list(islice(wanted, limit + 1))
        return DeadLetterPage(letters[:limit], letters[limit - 1].place if len(letters) > limit else None)


def letter_of(read: Read) -> DeadLetter:
    """The dead letter that a record is. Headers may be a stranger's: what can't be read there is not known."""
    delivered = read.delivered
    reason, detail, key, dead_at = _told_by_broker(delivered) or _told_by_runner(delivered)
    # The same for every reader, and another one where the stream was replaced.
    digest = hashlib.sha256(delivered.body).hexdigest()
    letter_id = uuid5(_IDS, f"{read.position.offset}:{read.position.message_id}:{dead_at}:{digest}")
    return DeadLetter(
        id=str(letter_id),
        place=read.position.offset,
        reason=reason,
        detail=detail,
        key=key,
        dead_at=dead_at,
        message_id=read.position.message_id,
        size=len(delivered.body),
        preview=delivered.body[:MOST_PREVIEW_BYTES],
    )


_Told = tuple[DeadReason, str, str, datetime | None]


def _told_by_broker(delivered: DeliveredMessage) -> _Told | None:
    # A stream keeps no nested headers such as x-death, and with it no time. A runner's copy has none of these.
    headers = _headers(delivered)
    why, queue = headers.get("x-first-death-reason"), headers.get("x-first-death-queue")
    if not isinstance(why, str):
        return None
    return _REASONS.get(why, DeadReason.OTHER), _detail(why), topology.key_of_work_queue(str(queue)), None


def _detail(why: str) -> str:
    match why:
        case "expired":
            return f"it waited for longer than {topology.COMMAND_TTL_SECONDS // 3600} h"
        case "delivery_limit":
            return f"it was handed out more than {topology.DELIVERY_LIMIT} times"
    return why[: topology.REASON_LENGTH]


def _told_by_runner(delivered: DeliveredMessage) -> _Told:
    headers = _headers(delivered)
    detail = headers.get(topology.REASON_HEADER)
    key, at = headers.get(topology.ORIGIN_HEADER), headers.get(topology.DEAD_AT_HEADER)
    return (
        DeadReason.OTHER if detail is None else DeadReason.MALFORMED,
        "" if detail is None else str(detail)[: topology.REASON_LENGTH],
        key if isinstance(key, str) else "",
        _time(at),
    )


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _headers(delivered: DeliveredMessage) -> Mapping[str, Any]:
    return delivered.header.properties.headers or {}
