"""Long-lived tokens: what is remembered of them, as records of the state stream. Only a token's digest is ever written."""

import hashlib
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import MalformedRecord
from schemas.times import Time

CREATED_KEY = "state.token_created"
REVOKED_KEY = "state.token_revoked"
#: A mark says nothing. Who writes one and reads it back has read all that was there before.
MARK_KEY = "state.mark"
#: From here on the stream says again all that it has said of tokens: the parts of it follow.
SNAPSHOT_BEGUN_KEY = "state.snapshot_begun"
SNAPSHOT_PART_KEY = "state.snapshot_part"

#: What every long-lived token begins with, so that people, and scanners for secrets, know one when they see it.
PREFIX = "hub_"
#: Longest name of a token, in characters.
MAX_NAME_LENGTH = 64


class Scope(StrEnum):
    """What a token is good for."""

    #: All that a login is good for, except making and revoking tokens.
    ALL = "all"
    #: Running programs, and reading programs and executions.
    RUN = "run"


class _Remembered(BaseModel):
    # Fields that a later version adds are ignored, so that an older gateway keeps working beside it.
    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_bytes(self) -> bytes:
        """The body of the record."""
        return self.model_dump_json().encode()


class TokenCreated(_Remembered):
    """A token was made."""

    token_id: str = Field(pattern=r"^[0-9a-f-]{36}$")
    name: str = Field(min_length=1, max_length=MAX_NAME_LENGTH)
    scope: Scope
    #: SHA-256 of the token, in hexadecimal. The token has 256 random bits: nothing slower is needed to hide it.
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: Time
    created_by: str = Field(max_length=256)
    #: When it ends by itself; ``None`` where it does not.
    expires_at: Time | None = None


class TokenRevoked(_Remembered):
    """A token was revoked, for good."""

    token_id: str = Field(pattern=r"^[0-9a-f-]{36}$")
    revoked_at: Time
    revoked_by: str = Field(max_length=256)


class SnapshotBegun(_Remembered):
    """Whoever begins to read here learns all that holds: what held in this place is said again in parts, after it."""

    snapshot_id: str = Field(pattern=r"^[0-9a-f-]{36}$")
    begun_at: Time


class SnapshotPart(_Remembered):
    """A part of what held in the place where the snapshot was begun."""

    snapshot_id: str = Field(pattern=r"^[0-9a-f-]{36}$")
    #: From 1 to ``parts``.
    part: int = Field(ge=1)
    parts: int = Field(ge=1)
    tokens: tuple[TokenCreated, ...] = ()
    #: Ids of revoked tokens, which no late creation is to bring back; the oldest revocation first.
    revoked: tuple[str, ...] = ()


StateRecord = TokenCreated | TokenRevoked | SnapshotBegun | SnapshotPart

_KINDS: dict[str, type[StateRecord]] = {
    CREATED_KEY: TokenCreated,
    REVOKED_KEY: TokenRevoked,
    SNAPSHOT_BEGUN_KEY: SnapshotBegun,
    SNAPSHOT_PART_KEY: SnapshotPart,
}


def digest_of_token(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def parse_state(key: str, body: bytes) -> StateRecord | None:
    """What a record of the state stream says of tokens; ``None`` for kinds of records that say nothing of them.

    Raises:
        MalformedRecord: it should say something, and can't be understood.
    """
    kind = _KINDS.get(key)
    try:
        return None if kind is None else kind.model_validate_json(body)
    except ValidationError as error:
        # How many, not which: an error's text could repeat what was in the record.
        raise MalformedRecord(f"{error.error_count()} mistakes in a record of {key}") from error
