"""Hellos, fences and ticks on a real RabbitMQ: who may still claim, and who has fallen silent."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import aio_pika
import pytest

from bus import topology
from bus.attendance import Attendance
from bus.errors import BusClosed, Fenced
from bus.messages import LEASES_A_TTL, Claim, Epoch, Hello
from tests.integration.bus.amqp import channel_to, publish
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import soon, stays_silent
from tests.integration.bus.test_leases import lease

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]

SECONDS = 0.1


def claim(epoch: str, execution_id: str | None = None) -> Claim:
    """A claim under an epoch."""
    return Claim(execution_id=execution_id or str(uuid4()), attempt=1, epoch=epoch, nonce=str(uuid4()), digest="d")


def hello(epoch: str = "e", process: str = "p") -> Hello:
    """A hello."""
    return Hello(epoch=epoch, process=process, runner_id="one")


async def test_bus1_what_an_epoch_claims_after_its_fence_is_void_and_another_may_claim_it(rabbits: Buses) -> None:
    holder, lost, other = [await rabbits.open() for _ in range(3)]
    before, after = claim("e"), claim("e")
    await soon(lost.decisions.decide(before))
    await soon(holder.epochs.fence("e"))
    await soon(holder.epochs.fence("e"))
    with pytest.raises(Fenced):
        await soon(lost.decisions.decide(after))
    mine = claim("another", after.execution_id)
    assert await soon(other.decisions.decide(mine)) == mine
    await soon(lost.epochs.catch_up())  # each process knows what it has read
    assert await soon(lost.decisions.decide(after)) == mine, "once it is decided, that is the answer"
    assert await soon(other.decisions.decide(claim("another", before.execution_id))) == before
    await soon(other.epochs.catch_up())
    assert await other.epochs.with_claims() == [
        Epoch(epoch="another", runner_id=None, is_fenced=False, last_claim=2),
        Epoch(epoch="e", runner_id=None, is_fenced=True, last_claim=1),
    ]
    assert [each for _, each in await other.epochs.claims_of("e", 0, 10)] == [before]


async def test_who_says_hello_knows_all_that_was_said_before_and_whether_its_epoch_is_over(rabbits: Buses) -> None:
    first, second = await rabbits.open(), await rabbits.open()
    await soon(first.epochs.hello(hello()))
    assert not await first.epochs.is_fenced("e")
    await soon(second.epochs.fence("e"))
    with pytest.raises(Fenced):
        await soon(first.epochs.hello(hello()))
    await soon(first.epochs.hello(hello("new")))


async def test_fences_are_told_to_who_waits_for_them_and_again_to_the_next_process(rabbits: Buses) -> None:
    bus, holder = await rabbits.open(state="one"), await rabbits.open()
    await soon(holder.epochs.fence("old"))
    await soon(bus.epochs.catch_up())
    async with aclosing(bus.epochs.fences()) as fences:  # type: ignore[type-var]
        assert await soon(anext(fences)) == "old"
        waiting: Any = asyncio.create_task(anext(fences))  # type: ignore[arg-type]
        await holder.epochs.fence("new")
        assert await soon(waiting) == "new"
    await bus.close()
    bus = await rabbits.open(state="one")
    async with aclosing(bus.epochs.fences()) as fences:  # type: ignore[type-var]
        assert [await soon(anext(fences)) for _ in range(2)] == ["old", "new"]


async def test_the_later_hello_of_another_process_displaces_the_earlier_one_alone(rabbits: Buses) -> None:
    first, second, unconcerned = [await rabbits.open() for _ in range(3)]
    await soon(first.epochs.hello(hello(process="before a restart")))
    await soon(first.epochs.hello(hello(process="first")))
    await soon(unconcerned.epochs.hello(hello("another", "third")))
    displaced = asyncio.create_task(first.epochs.displaced())
    await stays_silent(asyncio.shield(displaced))
    await soon(second.epochs.hello(hello(process="second")))
    await soon(displaced)
    # Who was away and catches up says nothing that displaces anybody.
    await soon(first.epochs.catch_up())
    await soon(second.epochs.catch_up())
    for bus in (second, unconcerned):
        await stays_silent(bus.epochs.displaced())


async def test_who_waits_when_the_bus_is_closed_is_told(rabbits: Buses) -> None:
    bus = await rabbits.open()
    waiting = asyncio.create_task(bus.epochs.displaced())
    await asyncio.sleep(0)
    await bus.close()
    with pytest.raises(BusClosed):
        await soon(waiting)


async def ticked(ticks: AsyncIterator[Attendance], number: int) -> Attendance:
    """What is known after so many ticks in all."""
    while True:
        attendance: Attendance = await soon(anext(ticks))
        if attendance.ticks >= number:
            return attendance


async def test_ticks_tell_who_is_silent_and_a_handover_lease_from_before_counts(rabbits: Buses) -> None:
    holder, runner = await rabbits.open(), await rabbits.open()
    await runner.leases.keep(lease("stopped", epoch="stopped", ttl_seconds=100.0, leaves=True))
    await runner.leases.keep(lease("dead", epoch="dead", ttl_seconds=LEASES_A_TTL * SECONDS))
    async with aclosing(holder.leases.ticks(SECONDS)) as ticks:  # type: ignore[type-var]
        attendance = await ticked(ticks, 1)
        assert not attendance.is_silent("dead")
        while attendance.ticks <= LEASES_A_TTL:
            await runner.leases.keep(lease("alive", epoch="alive", ttl_seconds=LEASES_A_TTL * SECONDS))
            await soon(anext(ticks))
        silent = {epoch: attendance.is_silent(epoch) for epoch in ("stopped", "dead", "alive", "never seen")}
        assert silent == {"stopped": False, "dead": True, "alive": False, "never seen": True}
        assert attendance.runner_of("dead") == "dead"


async def test_no_tick_passes_while_nothing_can_be_written_and_none_is_missing_afterwards(rabbits: Buses) -> None:
    holder, runner = await rabbits.open(), await rabbits.open()
    written = lease("one", epoch="one", ttl_seconds=LEASES_A_TTL * SECONDS)
    async with aclosing(holder.leases.ticks(SECONDS)) as ticks:  # type: ignore[type-var]
        await ticked(ticks, 3)
        await runner.leases.keep(written)
        async with channel_to(rabbits.url) as channel:
            underlay = await channel.get_underlay_channel()
            await underlay.queue_unbind(topology.LEASES, topology.REPORTS, "lease.#")
            waiting: Any = asyncio.create_task(anext(ticks))  # type: ignore[arg-type]
            await stays_silent(asyncio.shield(waiting), 2 * LEASES_A_TTL * SECONDS)
            await underlay.queue_bind(topology.LEASES, topology.REPORTS, "lease.#")
        attendance: Attendance = await soon(waiting)
        assert attendance.ticks == 4
        assert not attendance.is_silent("one"), "nobody was heard of meanwhile, and nobody is lost"


async def test_what_is_no_tick_is_skipped_and_counted(rabbits: Buses) -> None:
    bus = await rabbits.open()
    async with channel_to(rabbits.url) as channel:
        for body in (b"", b"[]", b'{"holder": 7}'):
            await publish(channel, topology.REPORTS, topology.TICK_KEY, aio_pika.Message(body))
        await publish(channel, topology.REPORTS, topology.FENCE_KEY, aio_pika.Message(b"{}"))
        await publish(channel, topology.REPORTS, topology.HELLO_KEY, aio_pika.Message(b"{}"))
    async with aclosing(bus.leases.ticks(SECONDS)) as ticks:  # type: ignore[type-var]
        await ticked(ticks, 2)
    await soon(bus.epochs.catch_up())
    assert bus.leases.malformed == 3  # type: ignore[attr-defined]
    assert bus.decisions.malformed == 2  # type: ignore[attr-defined]


async def test_only_a_runner_that_lives_is_a_rival_and_where_nobody_was_there_nothing_is_waited_for(rabbits: Buses) -> None:
    bus, other = await rabbits.open(), await rabbits.open()
    mine = lease("mine", epoch="new", ttl_seconds=6.0)
    began = time.monotonic()
    await other.leases.keep(lease("another", epoch="x"))
    await other.leases.keep(lease("mine", epoch="left", leaves=True))
    assert await soon(bus.leases.rival_of(mine)) is None
    assert time.monotonic() - began < 5
    dead = lease("mine", epoch="dead", ttl_seconds=3.0)
    await other.leases.keep(dead)
    assert await soon(bus.leases.rival_of(mine)) is None, "nothing more came of it"

    async def live() -> None:
        while True:
            await asyncio.sleep(0.2)
            await other.leases.keep(dead)

    living = asyncio.create_task(live())
    try:
        assert await soon(bus.leases.rival_of(mine)) == dead
    finally:
        living.cancel()
