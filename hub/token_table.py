"""The long-lived tokens that hold: a pure fold over the state stream, the same on every gateway. No clock, no settings."""

from collections import OrderedDict
from datetime import datetime

from schemas.tokens import TokenCreated, TokenRevoked

#: Tokens that may hold at once.
MOST_TOKENS = 10_000
#: Revocations that are remembered, the newest. A creation that the bus repeats late must not bring its token back.
_MOST_REVOKED = 10_000


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
        self._revoked[revocation.token_id] = None
        if len(self._revoked) > _MOST_REVOKED:
            self._revoked.popitem(last=False)
        return self._drop(revocation.token_id)

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
