"""A runner that was away for longer than the control stream goes back."""

import asyncio
from contextlib import aclosing

import pytest

from bus.errors import Fenced
from tests.integration.bus.amqp import cut_control
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import soon
from tests.integration.bus.test_rabbitmq_epochs import hello
from tests.support.broker import OwnBroker

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(120)]


async def test_bus1_who_was_away_while_records_were_removed_starts_over_for_a_fence_may_be_among_them(
    own_broker: OwnBroker, rabbits: Buses
) -> None:
    runner, holder = await rabbits.open(state="runner"), await rabbits.open()
    await soon(runner.epochs.hello(hello()))
    await runner.close()
    await soon(holder.epochs.fence("e"))
    await cut_control(own_broker, rabbits.url)
    fresh = await rabbits.open()
    await soon(fresh.epochs.catch_up())
    assert not await fresh.epochs.is_fenced("e"), "nobody who begins now knows of it"

    runner = await rabbits.open(state="runner")
    with pytest.raises(Fenced):
        await soon(runner.epochs.hello(hello()))
    await soon(runner.epochs.hello(hello("new")))
    await soon(fresh.epochs.catch_up())
    assert await fresh.epochs.is_fenced("e")


async def test_bus1_who_was_frozen_while_records_were_removed_is_over_as_soon_as_it_catches_up(
    own_broker: OwnBroker, rabbits: Buses
) -> None:
    runner, holder = await rabbits.open(state="runner"), await rabbits.open()
    await soon(runner.epochs.hello(hello()))
    follower = runner._tail._follower  # type: ignore[attr-defined]
    follower.cancel()
    await asyncio.wait({follower})
    await soon(holder.epochs.fence("e"))
    await cut_control(own_broker, rabbits.url)
    runner._tail._follower = asyncio.create_task(runner._tail._follow())  # type: ignore[attr-defined]

    await soon(runner.epochs.catch_up())
    assert await runner.epochs.is_fenced("e")
    async with aclosing(runner.epochs.fences()) as fences:  # type: ignore[type-var]
        assert await soon(anext(fences)) == "e"
    await soon(runner.epochs.hello(hello("new")))
    await soon(runner.epochs.catch_up())
    assert not await runner.epochs.is_fenced("new"), "of what was forgotten the conclusion is drawn once"


async def test_bus1_who_was_away_while_nothing_was_removed_goes_on(own_broker: OwnBroker, rabbits: Buses) -> None:
    runner, other = await rabbits.open(state="runner"), await rabbits.open()
    await soon(runner.epochs.hello(hello()))
    await runner.close()
    await soon(other.epochs.catch_up())
    runner = await rabbits.open(state="runner")
    await soon(runner.epochs.hello(hello()))
    assert not await runner.epochs.is_fenced("e")
