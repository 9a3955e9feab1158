"""Dead letters without a bus."""

import hashlib
from uuid import UUID

from bus.limits import MOST_PREVIEW_BYTES
from bus.messages import DeadLetter, DeadLetterPage, DeadReason, Message
from schemas.times import utc_now


class FakeDeadLetters:
    """Dead letters in memory, until a test says what goes wrong."""

    def __init__(self) -> None:
        self.letters: dict[str, tuple[DeadLetter, Message]] = {}
        #: What :meth:`remove` raises.
        self.remove_error: Exception | None = None
        self._made = 0

    def put(
        self,
        body: bytes,
        *,
        message_id: str | None = "bad one",
        reason: DeadReason = DeadReason.MALFORMED,
        detail: str = "no JSON",
        key: str = "execute.default",
        reply_to: str | None = None,
    ) -> DeadLetter:
        """One more."""
        self._made += 1
        letter = DeadLetter(
            id=str(UUID(hashlib.md5(str(self._made).encode(), usedforsecurity=False).hexdigest())),
            place=self._made,
            reason=reason,
            detail=detail,
            key=key,
            dead_at=utc_now(),
            message_id=message_id,
            size=len(body),
            preview=body[:MOST_PREVIEW_BYTES],
        )
        self.letters[letter.id] = letter, Message(id=message_id, body=body, reply_to=reply_to)
        return letter

    async def follow(self) -> None:
        raise AssertionError("whoever put the gateway together follows")

    def count(self) -> int:
        return len(self.letters)

    async def page(self, limit: int, *, reason: DeadReason | None = None, before: int | None = None) -> DeadLetterPage:
        found = [
            letter
            for letter, _ in reversed(self.letters.values())
            if reason in (None, letter.reason) and (before is None or letter.place < before)
        ]
        return DeadLetterPage(found[:limit], found[limit - 1].place if len(found) > limit else None)

    async def find(self, letter_id: str) -> tuple[DeadLetter, Message] | None:
        return self.letters.get(letter_id)

    async def remove(self, letter_id: str) -> bool:
        if self.remove_error is not None:
            raise self.remove_error
        return self.letters.pop(letter_id, None) is not None
