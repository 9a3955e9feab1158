"""Tokens: who logged in, signed, for a day."""

import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Final
from uuid import uuid4

import jwt

from gateway.errors import BadSigningKey, InvalidToken

#: Seconds a token is valid.
LIFETIME_SECONDS: Final = 86_400
#: Seconds that the clocks of two gateways may differ.
LEEWAY_SECONDS: Final = 30
#: An HMAC key shorter than its hash is weaker than it (RFC 7518, section 3.2).
MIN_KEY_BYTES: Final = 32

_ISSUER = "pyexecutorhub"
_AUDIENCE = "pyexecutorhub-api"
_ALGORITHM = "HS256"
_REQUIRED_CLAIMS = ["exp", "iat", "nbf", "jti", "sub", "aud", "iss"]


class Tokens:
    """Issues tokens and checks them. Several gateways with the same signing key accept each other's."""

    def __init__(
        self,
        signing_key: bytes,
        *,
        clock: Callable[[], float] = time.time,
        lifetime_seconds: int = LIFETIME_SECONDS,
        cached: int = 4096,
    ) -> None:
        """``clock`` gives seconds since 1970; ``cached`` is how many checked tokens are remembered.

        Raises:
            BadSigningKey: the key has less than 32 bytes.
        """
        if len(signing_key) < MIN_KEY_BYTES:
            raise BadSigningKey(f"the signing key has {len(signing_key)} bytes: at least {MIN_KEY_BYTES} are needed")
        self._key = signing_key
        self._clock = clock
        self._lifetime_seconds = lifetime_seconds
        self._jwt = jwt.PyJWT(options={"enforce_minimum_key_length": True})
        #: Digest of a token that was checked → its user and its end. Saves the cryptography on every request but the first.
        self._checked: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._max_checked = cached

    @property
    def lifetime_seconds(self) -> int:
        """Seconds a new token is valid."""
        return self._lifetime_seconds

    def issue(self, username: str) -> str:
        """A new token for this user."""
        now = int(self._clock())
        claims = {
            "sub": username,
            "iat": now,
            "nbf": now,
            "exp": now + self._lifetime_seconds,
            "jti": uuid4().hex,
            "aud": _AUDIENCE,
            "iss": _ISSUER,
        }
        return self._jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def verify(self, token: str) -> str:
        """The user that a token was issued to.

        Raises:
            InvalidToken: it is not one of ours, or its time is over.
        """
        digest = sha256(token.encode("utf-8", "surrogateescape")).digest()
        if (checked := self._checked.get(digest)) is not None:
            username, ends_at = checked
            if self._clock() < ends_at:
                self._checked.move_to_end(digest)
                return username
            del self._checked[digest]
        username, ends_at = self._check(token)
        self._checked[digest] = (username, ends_at)
        if len(self._checked) > self._max_checked:
            self._checked.popitem(last=False)
        return username

    def _check(self, token: str) -> tuple[str, float]:
        try:
            claims = self._jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                leeway=LEEWAY_SECONDS,
                options={"require": _REQUIRED_CLAIMS, "strict_aud": True},
            )
        # The library lets a few plain errors through for tokens that are garbage in unusual ways.
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise InvalidToken(type(error).__name__) from error
        return claims["sub"], float(claims["exp"])


def bearer_token(authorization: list[str]) -> str | None:
    """The token in the values of a request's Authorization headers; ``None`` where there is not exactly one bearer token."""
    if len(authorization) != 1:
        return None
    scheme, _, token = authorization[0].partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token else None
