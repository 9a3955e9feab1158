"""M28: dead letters, on both buses."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from bus.errors import BusUnavailable
from bus.limits import MOST_PREVIEW_BYTES
from bus.messages import DeadLetter, DeadReason, Message
from bus.ports import Bus
from schemas.times import utc_now
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import soon, take
from tests.support.wait import eventually

BODIES = {"bare": b"", "binary": bytes(range(256)), "large": b"x" * 200_000}


@asynccontextmanager
async def followed(bus: Bus) -> AsyncIterator[Bus]:
    """Somebody follows the dead letters of this bus."""
    following = asyncio.create_task(bus.dead_letters.follow())
    try:
        yield bus
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def bury(bus: Bus, *message_ids: str, body: bytes = b"not json", why: str = "no JSON") -> None:
    """Reject a command for each of these ids."""
    for message_id in message_ids:
        await bus.commands.accept("default", Message(id=message_id, body=body))
        await (await take(bus)).reject(why)


async def until(bus: Bus, right: Callable[[list[DeadLetter]], bool]) -> list[DeadLetter]:
    """The dead letters, the newest first, once they are right."""

    async def letters() -> list[DeadLetter]:
        try:
            return list((await bus.dead_letters.page(1000)).letters)
        except BusUnavailable:  # they are being read
            return []

    return await eventually(letters, right)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_m28_a_dead_letter_says_what_it_was_and_why_and_looking_takes_nothing_away(bus: Bus, body: bytes) -> None:
    async with followed(bus):
        await bury(bus, "bad one", body=body, why="what is \x1b[31mthis?" + "x" * 5_000)
        for _ in range(25):  # as often as a delivery may come back, and more
            (letter,) = await until(bus, lambda seen: len(seen) == 1)
            found = await soon(bus.dead_letters.find(letter.id))
        assert found == (letter, Message(id="bad one", body=body))
    assert (letter.reason, letter.key, letter.message_id) == (DeadReason.MALFORMED, "execute.default", "bad one")
    assert letter.detail.startswith("what is \x1b[31mthis?x")
    assert len(letter.detail) == 1_000
    assert (letter.size, letter.preview) == (len(body), body[:MOST_PREVIEW_BYTES])
    assert letter.dead_at is not None
    assert timedelta(0) <= utc_now() - letter.dead_at < timedelta(minutes=1)
    assert bus.dead_letters.count() == 1


async def test_m28_dead_letters_come_in_pages_the_newest_first_and_are_filtered_by_reason(bus: Bus) -> None:
    async with followed(bus):
        await bury(bus, *"abcde")
        await until(bus, lambda seen: len(seen) == 5)
        first = await bus.dead_letters.page(2)
        await bury(bus, "newer")
        await until(bus, lambda seen: len(seen) == 6)
        second = await bus.dead_letters.page(2, reason=DeadReason.MALFORMED, before=first.next)
        third = await bus.dead_letters.page(2, before=second.next)
        assert [letter.message_id for page in (first, second, third) for letter in page.letters] == list("edcba")
        assert third.next is None
        assert not (await bus.dead_letters.page(2, reason=DeadReason.EXPIRED)).letters


async def test_m28_what_is_removed_is_gone_once_and_the_others_stay_after_a_restart_too(buses: Buses) -> None:
    bus = await buses.open()
    async with followed(bus):
        await bury(bus, *"abc")
        letters = await until(bus, lambda seen: len(seen) == 3)
        assert await bus.dead_letters.remove(letters[1].id)
        assert bus.dead_letters.count() == 2
        assert not await bus.dead_letters.remove(letters[1].id)
        assert await bus.dead_letters.find(letters[1].id) is None
        assert not await bus.dead_letters.remove("never was")
    bus = await buses.reopen(bus)
    async with followed(bus):
        assert (await soon(bus.dead_letters.page(9))).letters == [letters[0], letters[2]]
        await bury(bus, "d")
        again = await until(bus, lambda seen: len(seen) == 3)
        assert [letter.message_id for letter in again] == ["d", "c", "a"]
        assert len({letter.id for letter in (*letters, *again)}) == 4
