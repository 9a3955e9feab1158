"""The holder and its subscribers, on both buses."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bus.messages import Announcement, Message
from bus.ports import Bus, Holder
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import report, soon, stays_silent


async def ids(announcements: AsyncIterator[Announcement], number: int) -> list[str | None]:
    return [(await soon(anext(announcements))).message.id for _ in range(number)]


@pytest.fixture
async def holder(bus: Bus) -> AsyncIterator[Holder]:
    async with bus.announcements.hold() as holder:
        yield holder


async def test_a_subscriber_gets_what_matches_in_order(bus: Bus, holder: Holder) -> None:
    async with bus.announcements.subscribe(["execution.failed.#", "execution.*.billing"]) as announcements:
        for number, key in enumerate(("failed.a", "running.a", "running.billing", "failed.billing")):
            await holder.announce(f"execution.{key}", report(str(number)))
        first = await soon(anext(announcements))
        assert first == Announcement(key="execution.failed.a", message=report("0"))
        assert await ids(announcements, 2) == ["2", "3"]
        await stays_silent(anext(announcements))


async def test_several_at_once_reach_everybody_who_wants_them(bus: Bus, holder: Holder) -> None:
    async with (
        bus.announcements.subscribe(["execution.failed.#"]) as failures,
        bus.announcements.subscribe(["#"]) as everything,
    ):
        several = [Announcement(key=f"execution.{word}.p", message=report(word)) for word in ("failed", "running", "queued")]
        await holder.announce_all(several)
        assert await ids(failures, 1) == ["failed"]
        assert sorted(map(str, await ids(everything, 3))) == ["failed", "queued", "running"]


async def test_every_subscriber_gets_it(bus: Bus, holder: Holder) -> None:
    async with (
        bus.announcements.subscribe(["#"]) as one,
        bus.announcements.subscribe(["execution.#"]) as other,
    ):
        await holder.announce("execution.queued.p", report("a"))
        assert await ids(one, 1) == await ids(other, 1) == ["a"]


async def test_nobody_needs_to_subscribe(holder: Holder) -> None:
    await holder.announce("execution.queued.p", report("a"))
    await holder.reply("reply.nobody", report("a"))


async def test_a_subscriber_that_came_later_has_missed_what_was_before(bus: Bus, holder: Holder) -> None:
    await holder.announce("execution.queued.p", report("a"))
    async with bus.announcements.subscribe(["#"]) as announcements:
        await holder.announce("execution.queued.p", report("b"))
        assert await ids(announcements, 1) == ["b"]


async def test_a_named_subscription_keeps_what_comes_while_nobody_is_there(buses: Buses) -> None:
    bus = await buses.open()
    async with bus.announcements.subscribe(["execution.#"], name="billing"):
        pass
    async with bus.announcements.hold() as holder:
        for message_id in "abc":
            await holder.announce("execution.queued.p", report(message_id))
    bus = await buses.reopen(bus)
    async with bus.announcements.subscribe(["execution.#"], name="billing") as announcements:
        assert await ids(announcements, 2) == ["a", "b"]
    async with bus.announcements.subscribe(["execution.#"], name="billing") as announcements:
        assert await ids(announcements, 1) == ["c"]
        await stays_silent(anext(announcements))


async def test_what_a_named_subscriber_failed_at_comes_again(bus: Bus, holder: Holder) -> None:
    with pytest.raises(ZeroDivisionError):
        async with bus.announcements.subscribe(["#"], name="billing") as announcements:
            await holder.announce("execution.queued.p", report("a"))
            assert await ids(announcements, 1) == ["a"]
            raise ZeroDivisionError
    async with bus.announcements.subscribe(["#"], name="billing") as announcements:
        assert await ids(announcements, 1) == ["a"]


async def test_a_successor_goes_on_after_the_last_position(buses: Buses) -> None:
    bus = await buses.open()
    async with bus.announcements.hold() as holder:
        assert holder.position is None
    async with bus.announcements.hold() as holder:
        assert holder.position is None
        for position in (3, 7, 12):
            await holder.advance(position)
            assert holder.position == position
    async with bus.announcements.hold() as holder:
        assert holder.position == 12
    bus = await buses.reopen(bus)
    async with bus.announcements.hold() as holder:
        assert holder.position == 12


async def test_one_holds_at_a_time_and_the_next_one_gets_it_when_it_is_let_go(buses: Buses) -> None:
    several = [await buses.open() for _ in range(buses.most)]
    holding = 0
    positions: list[int | None] = []

    async def hold_for_a_moment(bus: Bus) -> None:
        nonlocal holding
        async with bus.announcements.hold() as holder:
            holding += 1
            assert holding == 1
            positions.append(holder.position)
            await holder.advance(len(positions))
            holding -= 1

    await soon(asyncio.gather(*(hold_for_a_moment(several[number % len(several)]) for number in range(8))))
    assert positions == [None, 1, 2, 3, 4, 5, 6, 7]


async def test_announcements_of_many_are_all_delivered(bus: Bus, holder: Holder) -> None:
    async with bus.announcements.subscribe(["#"]) as announcements:
        for number in range(500):
            await holder.announce("execution.queued.p", Message(id=str(number), body=b"x"))
        assert await ids(announcements, 500) == [str(number) for number in range(500)]
