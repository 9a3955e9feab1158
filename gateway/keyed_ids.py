"""Which execution an ``Idempotency-Key`` names, the same on every gateway of an installation without asking anybody. Pure.

An id is made of the installation's secret, the caller, the key and the number of a window of 24 hours. The id of an execution
is never used again, not even long after its key may name a new one: that it was started stays decided. Windows begin at another
time of day for each key, so that no moment is special for all of them.
"""

import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5

#: Printable ASCII, and no space at either end, where a header would lose it.
KEY_PATTERN = r"^[!-~]([ -~]{0,253}[!-~])?$"
_KEY = re.compile(KEY_PATTERN)

#: For how long a key names what it named first; also the length of a window.
KEPT = timedelta(hours=24)
#: Around the end of a window two ids are possible: a retry may follow a request of the old window that nobody has seen yet, and
#: the clocks of two gateways may disagree about which window it is.
HANDOVER = timedelta(minutes=10)


def is_key(text: str) -> bool:
    """Whether this may be a key."""
    # fullmatch: for match alone, "$" would let a line break at the end pass.
    return _KEY.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedIds:
    """The executions that a key may name at one moment."""

    #: What it names where it was not used within the last 24 hours.
    new: str
    #: Under which ids it may have been used, the oldest first.
    possible: tuple[str, ...]
    #: The one before ``new``, while somebody may be about to use it; ``None`` for most of the day.
    doubtful: str | None


class IdempotencyKeys:
    """Makes the ids."""

    def __init__(self, secret: bytes) -> None:
        """``secret`` is the same for all gateways of the installation, and known to nobody else: ids must not be guessed."""
        self._secret = hmac.digest(secret, b"pyexecutorhub: idempotency keys", "sha256")
        self._namespace = UUID(bytes=self._secret[:16])

    def ids(self, caller: str, key: str, now: datetime) -> KeyedIds:
        """The executions that this caller's key may name now."""
        # Neither of them has a line break in it.
        name = f"{caller}\n{key}"
        length = KEPT.total_seconds()
        phase = int.from_bytes(hmac.digest(self._secret, name.encode(), "sha256")[:8]) % int(length)
        window, age = divmod(now.timestamp() + phase, length)
        handover = HANDOVER.total_seconds()
        previous, current, following = (self._id(name, int(window) + step) for step in (-1, 0, 1))
        return KeyedIds(
            new=current,
            possible=(previous, current, following) if age > length - handover else (previous, current),
            doubtful=previous if age < handover else None,
        )

    def _id(self, name: str, window: int) -> str:
        return str(uuid5(self._namespace, f"{name}\n{window}"))
