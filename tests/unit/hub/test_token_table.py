"""M29: the table of long-lived tokens."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from hub.token_table import TokenTable
from schemas.tokens import Scope, TokenCreated, TokenRevoked, digest_of_token

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def created(number: int, *, at: datetime = NOW, days: int | None = None) -> TokenCreated:
    return TokenCreated(
        token_id=str(UUID(int=number)),
        name=f"n{number}",
        scope=Scope.ALL,
        digest=digest_of_token(f"t{number}"),
        created_at=at,
        created_by="ada",
        expires_at=None if days is None else at + timedelta(days=days),
    )


def revoked(number: int) -> TokenRevoked:
    return TokenRevoked(token_id=str(UUID(int=number)), revoked_at=NOW, revoked_by="ada")


def test_m29_a_token_holds_from_its_creation_to_its_revocation() -> None:
    table = TokenTable()
    assert table.create(created(1))
    assert table.find(digest_of_token("t1"), NOW) == created(1)
    assert table.find(digest_of_token("t2"), NOW) is None
    assert table.revoke(revoked(1))
    assert not table.revoke(revoked(1))
    assert table.find(digest_of_token("t1"), NOW) is None
    assert table.all(NOW) == []


def test_m29_a_creation_that_the_bus_repeats_brings_a_revoked_token_not_back() -> None:
    table = TokenTable()
    assert table.create(created(1))
    assert table.create(created(1))
    assert len(table.all(NOW)) == 1
    table.revoke(revoked(1))
    assert not table.create(created(1))
    # Not even where the revocation is read first.
    table.revoke(revoked(2))
    assert not table.create(created(2))
    assert table.all(NOW) == []


def test_m29_a_token_ends_with_its_last_day() -> None:
    table = TokenTable()
    table.create(created(1, days=1))
    end = NOW + timedelta(days=1)
    assert table.find(digest_of_token("t1"), end - timedelta(microseconds=1)) is not None
    assert table.find(digest_of_token("t1"), end) is None
    assert table.holds(created(1).token_id, NOW)
    assert not table.holds(created(1).token_id, end)
    assert table.all(end) == []


def test_m29_only_so_many_hold_and_an_expired_one_leaves_room() -> None:
    table = TokenTable(most_tokens=2)
    assert table.create(created(1, days=1))
    assert table.create(created(2))
    assert not table.create(created(3))
    assert table.create(created(4, at=NOW + timedelta(days=2)))
    assert [token.name for token in table.all(NOW)] == ["n2", "n4"]


def test_an_id_that_is_taken_stays_with_its_first_token() -> None:
    table = TokenTable()
    table.create(created(1))
    assert not table.create(created(1).model_copy(update={"digest": "0" * 64}))
    assert not table.create(created(2).model_copy(update={"digest": created(1).digest}))
    assert table.all(NOW) == [created(1)]


@given(st.lists(st.tuples(st.booleans(), st.integers(min_value=1, max_value=5)), max_size=40))
def test_m29_no_order_of_records_lets_a_revoked_token_hold(steps: list[tuple[bool, int]]) -> None:
    table, gone = TokenTable(most_tokens=3), set()
    for creates, number in steps:
        if creates:
            table.create(created(number))
        else:
            table.revoke(revoked(number))
            gone.add(number)
        held = {token.name for token in table.all(NOW)}
        assert not held & {f"n{number}" for number in gone}
        assert len(held) <= 3
        assert all((table.find(digest_of_token(f"t{one}"), NOW) is not None) == (f"n{one}" in held) for one in range(1, 6))
