"""Tokens: A4, A8."""

import time
from typing import Any

import jwt
import pytest

from gateway.errors import BadSigningKey, InvalidToken
from gateway.tokens import Tokens, bearer_token

KEY = bytes(range(32))


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good: dict[str, Any] = {
        "sub": "anna",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "jti": "1",
        "aud": "pyexecutorhub-api",
        "iss": "pyexecutorhub",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def encoded(*, key: bytes = KEY, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm)


def test_a8_another_gateway_with_the_same_key_accepts_the_token() -> None:
    assert Tokens(KEY).verify(Tokens(KEY).issue("anna")) == "anna"


def test_two_tokens_are_never_the_same() -> None:
    tokens = Tokens(KEY)

    assert tokens.issue("anna") != tokens.issue("anna")


def test_the_good_claims_of_these_tests_are_good() -> None:
    assert Tokens(KEY).verify(encoded()) == "anna"


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf", "jti", "sub", "aud", "iss"])
def test_a4_every_claim_is_required(claim: str) -> None:
    without: dict[str, Any] = {claim: None}
    with pytest.raises(InvalidToken):
        Tokens(KEY).verify(encoded(**without))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 31},
        {"nbf": int(time.time()) + 600},
        {"iat": int(time.time()) + 600},
        {"aud": "other"},
        {"aud": ["pyexecutorhub-api", "other"]},
        {"iss": "pyexecutorhub2"},
        {"iss": "pyexec"},
        {"sub": 7},
        {"exp": "soon"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a4_wrong_claims_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        Tokens(KEY).verify(encoded(**changes))


@pytest.mark.parametrize(
    "token",
    [
        encoded(key=bytes(32)),
        encoded(key=KEY * 2, algorithm="HS512"),
        jwt.encode(claims(), None, algorithm="none"),
        "",
        "a.b.c",
        "....",
        "é" * 10,
        encoded() + "x",
        encoded().rpartition(".")[0] + ".",
    ],
    ids=["other key", "longer hash", "no signature", "nothing", "three words", "dots", "not ascii", "one more", "cut off"],
)
def test_a4_forged_and_garbled_tokens_are_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        Tokens(KEY).verify(token)


def test_clocks_may_differ_by_less_than_half_a_minute() -> None:
    assert Tokens(KEY).verify(encoded(nbf=int(time.time()) + 20, exp=int(time.time()) - 20)) == "anna"


def test_a4_a_token_is_over_a_day_after_its_issue() -> None:
    yesterday = time.time() - 86_400 - 31
    token = Tokens(KEY, clock=lambda: yesterday).issue("anna")

    with pytest.raises(InvalidToken):
        Tokens(KEY).verify(token)


def test_a4_a_checked_token_is_remembered_until_its_end_and_then_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    tokens = Tokens(KEY, clock=lambda: now)
    token = tokens.issue("anna")
    assert tokens.verify(token) == "anna"

    def expired(*arguments: object, **options: object) -> None:
        raise jwt.ExpiredSignatureError

    monkeypatch.setattr(jwt.PyJWT, "decode", expired)

    now += 86_390
    assert tokens.verify(token) == "anna"
    now += 20
    with pytest.raises(InvalidToken):
        tokens.verify(token)


def test_only_so_many_checked_tokens_are_remembered() -> None:
    tokens = Tokens(KEY, cached=2)
    for _ in range(5):
        tokens.verify(tokens.issue("anna"))

    assert len(tokens._checked) == 2


def test_a_key_under_32_bytes_is_refused() -> None:
    with pytest.raises(BadSigningKey, match="31 bytes"):
        Tokens(bytes(31))


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        (["Bearer abc"], "abc"),
        (["bearer  abc "], "abc"),
        (["Bearer"], None),
        (["Bearer "], None),
        (["Basic abc"], None),
        (["abc"], None),
        (["Bearer abc", "Bearer abc"], None),
    ],
)
def test_a_bearer_token_is_exactly_one_header_of_that_scheme(headers: list[str], token: str | None) -> None:
    assert bearer_token(headers) == token
