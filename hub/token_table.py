"""The long-lived tokens that hold: a pure fold over the state stream, the same on every gateway. No clock, no settings."""

from collections import OrderedDict
from datetime import datetime

from schemas.tokens import SnapshotPart, TokenCreated, TokenRevoked

#: Tokens that may hold at once.
MOST_TOKENS = 10_000
#: Revocations that are remembered, the newest. A creation that the bus repeats late must not bring its token back.
_MOST_REVOKED = 10_000
#: Tokens, or revocations, of one part of a snapshot: some 50 KB.
_PART = 100


class TokenTable:
    """Tokens by digest and by id."""

    def __init__(self, *, most_tokens: int = MOST_TOKENS) -> None:
        self._most_tokens = most_tokens
        self._by_digest: dict[str, TokenCreated] = {}
        self._by_id: dict[str, TokenCreated] = {}
        self._revoked: OrderedDict[str, None] = OrderedDict()

    def create(self, token: TokenCreated) -> bool:
        """Whether the token holds from now on; not where there are as many as may be.

        What had expired when it was made leaves room for it. That time is the record's and not this host's, so that every
        gateway decides alike.
        """
        if token.token_id in self._revoked:
            return False
        if token.token_id in self._by_id or token.digest in self._by_digest:
            # The bus may repeat a record; the first one counts.
            return self._by_id.get(token.token_id) == token
        if len(self._by_id) >= self._most_tokens:
            self._drop_expired(token.created_at)
            if len(self._by_id) >= self._most_tokens:
                return False
        self._by_digest[token.digest] = self._by_id[token.token_id] = token
        return True

    def revoke(self, revocation: TokenRevoked) -> bool:
        """Whether there was such a token; there is none from now on."""
        return self._revoke(revocation.token_id)

    def snapshot(self, snapshot_id: str, now: datetime) -> list[SnapshotPart]:
        """All that holds, in parts."""
        tokens, revoked = self.all(now), list(self._revoked)
        parts = max(1, -(-max(len(tokens), len(revoked)) // _PART))
        return [
            SnapshotPart(
                snapshot_id=snapshot_id,
                part=number + 1,
                parts=parts,
                tokens=tuple(tokens[number * _PART : (number + 1) * _PART]),
                revoked=tuple(revoked[number * _PART : (number + 1) * _PART]),
            )
            for number in range(parts)
        ]

    def take(self, part: SnapshotPart) -> None:
        """What a part says, for a table that begins there; to any other it says nothing new."""
        for token_id in part.revoked:
            self._revoke(token_id)
        for token in part.tokens:
            self.create(token)

    def holds(self, token_id: str, now: datetime) -> bool:
        """Whether there is a token with this id that has not expired."""
        token = self._by_id.get(token_id)
        return token is not None and _lives(token, now)

    def find(self, digest: str, now: datetime) -> TokenCreated | None:
        """The token with this digest, unless it has expired."""
        token = self._by_digest.get(digest)
        return token if token is not None and _lives(token, now) else None

    def all(self, now: datetime) -> list[TokenCreated]:
        """Every token that has not expired, the oldest first."""
        return [token for token in self._by_id.values() if _lives(token, now)]

    def __len__(self) -> int:
        """How much there is to be said: tokens, expired ones among them, and revocations."""
        return len(self._by_id) + len(self._revoked)

    def _revoke(self, token_id: str) -> bool:
        self._revoked[token_id] = None
        if len(self._revoked) > _MOST_REVOKED:
            self._revoked.popitem(last=False)
        return self._drop(token_id)

    def _drop_expired(self, now: datetime) -> None:
        for token_id in [token_id for token_id, token in self._by_id.items() if not _lives(token, now)]:
            self._drop(token_id)

    def _drop(self, token_id: str) -> bool:
        token = self._by_id.pop(token_id, None)
        if token is None:
            return False
        del self._by_digest[token.digest]
        return True


def _lives(token: TokenCreated, now: datetime) -> bool:
    return token.expires_at is None or now < token.expires_at
