"""Long-lived tokens without a bus."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

from gateway.errors import InvalidToken
from hub.token_table import TokenTable
from schemas.times import utc_now
from schemas.tokens import PREFIX, Scope, TokenCreated, TokenRevoked, digest_of_token


class FakeApiTokens:
    """Tokens in memory, until a test says what goes wrong."""

    def __init__(self) -> None:
        self._table = TokenTable()
        self._made = 0
        #: What every method raises.
        self.error: Exception | None = None

    def issue(self, scope: Scope = Scope.ALL, *, name: str = "cron", created_by: str = "tester42") -> str:
        """A token that holds."""
        _, token = self._make(name, scope, None, created_by)
        return token

    async def verify(self, token: str) -> TokenCreated:
        self._fail()
        found = self._table.find(digest_of_token(token), utc_now())
        if found is None:
            raise InvalidToken("no such token")
        return found

    async def create(self, *, name: str, scope: Scope, days: int | None, created_by: str) -> tuple[TokenCreated, str]:
        self._fail()
        return self._make(name, scope, days, created_by)

    async def all(self) -> Sequence[TokenCreated]:
        self._fail()
        return self._table.all(utc_now())

    async def revoke(self, token_id: str, *, revoked_by: str) -> bool:
        self._fail()
        if not self._table.holds(token_id, utc_now()):
            return False
        return self._table.revoke(TokenRevoked(token_id=token_id, revoked_at=utc_now(), revoked_by=revoked_by))

    def _make(self, name: str, scope: Scope, days: int | None, created_by: str) -> tuple[TokenCreated, str]:
        self._made += 1
        token = f"{PREFIX}{self._made:043d}"
        now = utc_now()
        created = TokenCreated(
            token_id=str(uuid4()),
            name=name,
            scope=scope,
            digest=digest_of_token(token),
            created_at=now,
            created_by=created_by,
            expires_at=None if days is None else now + timedelta(days=days),
        )
        assert self._table.create(created)
        return created, token

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error
