"""Who runs what: the first proposal decides, on both buses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from uuid import uuid4

from bus.messages import Claim, End
from bus.ports import Bus
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import claim, soon, stays_silent


async def test_the_first_claim_decides_for_everybody_and_for_ever(buses: Buses) -> None:
    bus = await buses.open()
    execution_id = str(uuid4())
    first, second = claim(execution_id), claim(execution_id)
    assert await bus.decisions.decide(first) == first
    assert await bus.decisions.decide(second) == first
    assert await bus.decisions.decide(first) == first
    bus = await buses.reopen(bus)
    assert await bus.decisions.decide(second) == first


async def test_of_a_hundred_contenders_one_wins(buses: Buses) -> None:
    several = [await buses.open() for _ in range(buses.most)]
    execution_id = str(uuid4())
    claims = [claim(execution_id) for _ in range(100)]
    decisions = await soon(
        asyncio.gather(*(several[number % len(several)].decisions.decide(claim) for number, claim in enumerate(claims)))
    )
    assert len(set(decisions)) == 1
    assert decisions[0] in claims


async def test_attempts_are_decided_each_for_itself(bus: Bus) -> None:
    execution_id = str(uuid4())
    first, second = claim(execution_id), claim(execution_id, attempt=2)
    assert await bus.decisions.decide(first) == first
    assert await bus.decisions.decide(second) == second
    assert await bus.decisions.decision_for(execution_id, 1) == first
    assert await bus.decisions.decision_for(execution_id, 2) == second


async def test_an_end_before_the_claim_wins(bus: Bus) -> None:
    execution_id = str(uuid4())
    end = End(execution_id=execution_id, reason="cancelled", requested_by="ana")
    assert await bus.decisions.decide(end) == end
    assert await bus.decisions.decide(claim(execution_id)) == end
    assert await bus.decisions.decide(End(execution_id=execution_id, reason="expired")) == end


async def test_an_end_after_the_claim_decides_later_attempts_only(bus: Bus) -> None:
    execution_id = str(uuid4())
    first = claim(execution_id)
    await bus.decisions.decide(first)
    end = End(execution_id=execution_id, reason="expired")
    assert await bus.decisions.decide(end) == first
    assert await bus.decisions.decision_for(execution_id, 1) == first
    assert await bus.decisions.decide(claim(execution_id, attempt=2)) == end


async def test_nothing_is_known_of_what_nobody_proposed(bus: Bus) -> None:
    assert await bus.decisions.decision_for(str(uuid4()), 1) is None


async def test_a_watcher_sees_every_decision_from_now_on_in_order(bus: Bus) -> None:
    earlier = claim(str(uuid4()))
    await bus.decisions.decide(earlier)
    async with aclosing(bus.decisions.watch()) as watching:  # type: ignore[type-var]
        claims: list[Claim] = []
        for _ in range(5):
            claims.append(claim(str(uuid4())))
            await bus.decisions.decide(claims[-1])
            await bus.decisions.decide(claim(claims[-1].execution_id))
        end = End(execution_id=claims[0].execution_id, reason="cancelled")
        await bus.decisions.decide(end)
        assert [await soon(anext(watching)) for _ in range(6)] == [*claims, end]
        await stays_silent(anext(watching))


async def test_everybody_hears_of_an_end_that_came_after_the_claim(buses: Buses) -> None:
    several = [await buses.open() for _ in range(buses.most)]
    claims = [claim(str(uuid4())) for _ in range(2)]
    ends = [
        End(execution_id=each.execution_id, reason="cancelled", requested_by="ana", why=f"reason {number}")
        for number, each in enumerate(claims)
    ]
    for each in claims:
        await several[0].decisions.decide(each)
    assert await several[0].decisions.end_of(claims[0].execution_id) is None
    assert await several[0].decisions.decide(ends[0]) == claims[0]
    assert await several[0].decisions.decide(replace(ends[0], why="another word")) == claims[0]
    for bus in several:
        async with aclosing(bus.decisions.ends()) as hearing:  # type: ignore[type-var]
            assert await soon(anext(hearing)) == ends[0], "those of before come first"
            assert await bus.decisions.end_of(claims[0].execution_id) == ends[0]
            assert await bus.decisions.decision_for(claims[0].execution_id, 1) == claims[0], "it changes no decision"
            await stays_silent(anext(hearing))
    async with AsyncExitStack() as stack:
        hearers = [await stack.enter_async_context(aclosing(bus.decisions.ends())) for bus in several]  # type: ignore[type-var]
        waiting = [asyncio.create_task(_two(hearing)) for hearing in hearers]
        await several[0].decisions.decide(ends[1])
        assert await soon(asyncio.gather(*waiting)) == [ends for _ in several], "a new one comes to who waits"


async def _two(ends: AsyncIterator[End]) -> list[End]:
    return [await anext(ends), await anext(ends)]


async def test_a_cancel_after_another_kind_of_end_is_heard_of_too(bus: Bus) -> None:
    claimed = claim(str(uuid4()))
    withdrawn = End(execution_id=claimed.execution_id, reason="unconfirmed")
    cancelled = End(execution_id=claimed.execution_id, reason="cancelled")
    async with aclosing(bus.decisions.ends()) as hearing:  # type: ignore[type-var]
        assert [await soon(bus.decisions.decide(proposal)) for proposal in (claimed, withdrawn, cancelled)] == [claimed] * 3
        assert await soon(_two(hearing)) == [withdrawn, cancelled]
    assert await bus.decisions.end_of(claimed.execution_id) == cancelled


async def test_ends_are_heard_of_again_after_a_restart(buses: Buses) -> None:
    bus = await buses.open()
    end = End(execution_id=str(uuid4()), reason="unconfirmed")
    await bus.decisions.decide(end)
    bus = await buses.reopen(bus)
    async with aclosing(bus.decisions.ends()) as hearing:  # type: ignore[type-var]
        assert await soon(anext(hearing)) == end


async def test_many_decisions_at_once_are_all_made(bus: Bus) -> None:
    claims = [claim(str(uuid4())) for _ in range(200)]
    assert await soon(asyncio.gather(*(bus.decisions.decide(claim) for claim in claims))) == claims
