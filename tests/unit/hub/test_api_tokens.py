"""M29: long-lived tokens of several gateways on one bus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

import pytest

from bus.errors import BusUnavailable
from bus.messages import Message, Source, StreamName
from gateway.errors import InvalidToken, TokensUnavailable, TooManyTokens
from hub.api_tokens import ApiTokens
from schemas.times import utc_now
from schemas.tokens import CREATED_KEY, Scope, digest_of_token, parse_state
from tests.support.memory_bus import MemoryBus
from tests.support.wait import eventually


@asynccontextmanager
async def running(tokens: ApiTokens) -> AsyncIterator[ApiTokens]:
    """Tokens that are read."""
    task = asyncio.create_task(tokens.run())
    try:
        yield tokens
    finally:
        task.cancel()
        await asyncio.wait({task})


async def make(tokens: ApiTokens, name: str = "cron", days: int | None = None) -> tuple[str, str]:
    """A token: its id, and itself."""
    created, token = await tokens.create(name=name, scope=Scope.RUN, days=days, created_by="ada")
    return created.token_id, token


async def is_valid(tokens: ApiTokens, token: str) -> bool:
    try:
        await tokens.verify(token)
    except InvalidToken:
        return False
    return True


async def test_m29_a_token_of_one_gateway_holds_on_the_others_and_after_a_restart_and_is_revoked_on_all() -> None:
    bus = MemoryBus()
    async with running(ApiTokens(bus.streams)) as one, running(ApiTokens(bus.streams)) as other:
        token_id, token = await make(one)
        assert (await one.verify(token)).name == "cron"
        await eventually(lambda: is_valid(other, token), within_seconds=1)

        async with running(ApiTokens(bus.streams)) as restarted:
            assert (await restarted.verify(token)).token_id == token_id
            assert await restarted.revoke(token_id, revoked_by="grace")
            assert not await is_valid(restarted, token)
            assert not await restarted.revoke(token_id, revoked_by="grace")

        for gateway in (one, other):
            await eventually(partial(is_valid, gateway, token), lambda valid: not valid, within_seconds=1)


async def test_m29_after_a_restart_a_revoked_token_is_not_accepted_for_a_moment() -> None:
    bus = MemoryBus()
    async with running(ApiTokens(bus.streams)) as tokens:
        token_id, token = await make(tokens)
        await tokens.revoke(token_id, revoked_by="ada")

    restarted = ApiTokens(bus.streams, patience_seconds=0.05)
    # Nothing has been read: neither yes nor no.
    with pytest.raises(TokensUnavailable):
        await restarted.verify(token)
    assert "refused" in str(restarted.problem)
    # The bus can be read and not be written: what has been read may be less than there is.
    bus.away = True
    async with running(restarted):
        with pytest.raises(TokensUnavailable):
            await restarted.verify(token)
        for call in (restarted.all(), restarted.revoke(token_id, revoked_by="ada"), make(restarted)):
            with pytest.raises(TokensUnavailable):
                await call
        bus.away = False
        assert await restarted.caught_up(5)
        assert str(restarted.problem) == "None"
        assert not await is_valid(restarted, token)


async def test_m29_nothing_on_the_bus_gives_a_token_away() -> None:
    bus = MemoryBus()
    async with running(ApiTokens(bus.streams)) as tokens:
        _, token = await make(tokens)

    records = bus.streams_.records[StreamName.STATE]
    assert digest_of_token(token) in repr(records)
    assert token not in repr(records)
    assert token.removeprefix("hub_") not in repr(records)


async def test_m29_tokens_have_256_random_bits_and_end_after_their_days() -> None:
    now = utc_now()
    tokens = ApiTokens(MemoryBus().streams, clock=lambda: now)
    async with running(tokens):
        made = [await make(tokens, days=1) for _ in range(50)]
        assert len({token for _, token in made}) == 50
        assert {len(token) for _, token in made} == {4 + 43}
        assert len(await tokens.all()) == 50
        now += timedelta(days=1)
        assert await tokens.all() == []
        assert not await is_valid(tokens, made[0][1])


async def test_m29_above_the_number_that_may_hold_none_is_made() -> None:
    bus = MemoryBus()
    async with running(ApiTokens(bus.streams, most_tokens=3)) as one, running(ApiTokens(bus.streams, most_tokens=3)) as other:
        # At once, on two gateways: the order in the stream decides.
        made = await asyncio.gather(*(make(gateway) for gateway in (one, other) * 3), return_exceptions=True)
        assert sum(isinstance(one, TooManyTokens) for one in made) == 3
        valid = [answer[1] for answer in made if not isinstance(answer, BaseException)]
        for token in valid:
            await eventually(partial(is_valid, other, token), within_seconds=1)
            assert await is_valid(one, token)


async def test_m29_what_can_not_be_written_is_no_token() -> None:
    bus = MemoryBus()
    async with running(ApiTokens(bus.streams)) as tokens:
        token_id, token = await make(tokens)
        bus.away = True
        with pytest.raises(BusUnavailable):
            await make(tokens)
        with pytest.raises(BusUnavailable):
            await tokens.revoke(token_id, revoked_by="ada")
        # What was known goes on.
        assert await is_valid(tokens, token)


async def test_records_that_say_nothing_of_tokens_are_passed_over() -> None:
    bus = MemoryBus()
    for key, body in (("state.pause", b"{}"), (CREATED_KEY, b"not json"), (CREATED_KEY, b'{"token_id": "x"}')):
        bus.streams_.record(StreamName.STATE, Source.REPORTS, key, Message(id="x", body=body))
    async with running(ApiTokens(bus.streams)) as tokens:
        _, token = await make(tokens)
        # Whoever may only write commands can't make a token.
        good = next(record for record in bus.streams_.records[StreamName.STATE] if b"digest" in record.message.body)
        forged = good.message.body.replace(digest_of_token(token).encode(), digest_of_token("hub_forged").encode())
        bus.streams_.record(StreamName.STATE, Source.COMMANDS, CREATED_KEY, Message(id="y", body=forged))
        await make(tokens)
        assert not await is_valid(tokens, "hub_forged")
        assert len(await tokens.all()) == 2


def test_a_later_versions_field_is_passed_over() -> None:
    now = datetime.fromisoformat("2026-01-02T00:00:00+00:00")
    body = b'{"token_id": "00000000-0000-0000-0000-000000000000", "revoked_at": "2026-01-02T00:00:00Z", '
    body += b'"revoked_by": "a", "new": 1}'
    said = parse_state("state.token_revoked", body)
    assert said is not None
    assert said.revoked_at == now  # type: ignore[union-attr]
