"""Hellos and the claims of epochs, on both buses."""

import asyncio
from uuid import uuid4

from bus.messages import Claim, Epoch, Hello
from bus.ports import Bus
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import soon, stays_silent


def claim(epoch: str, attempt: int = 1, execution_id: str | None = None) -> Claim:
    """A claim under an epoch."""
    return Claim(execution_id=execution_id or str(uuid4()), attempt=attempt, epoch=epoch, nonce=str(uuid4()), digest="d")


async def test_a_process_enters_and_enters_again_after_a_restart(buses: Buses) -> None:
    bus = await buses.open()
    await soon(bus.epochs.hello(Hello(epoch="e", process="p", runner_id="one")))
    await soon(bus.epochs.catch_up())
    assert not await bus.epochs.is_fenced("e")
    for waiting in (bus.epochs.displaced(), anext(bus.epochs.fences())):
        await stays_silent(waiting)
    bus = await buses.reopen(bus)
    await soon(bus.epochs.hello(Hello(epoch="e", process="q", runner_id="one")))
    await stays_silent(bus.epochs.displaced())


async def test_the_claims_of_each_epoch_are_told_in_order_without_those_that_a_later_attempt_followed(bus: Bus) -> None:
    claims = [claim("e") for _ in range(3)]
    later = claim("f", 2, claims[1].execution_id)
    await soon(asyncio.gather(*(bus.decisions.decide(each) for each in claims)))
    await soon(bus.decisions.decide(later))
    await soon(bus.epochs.catch_up())
    found = await bus.epochs.with_claims()
    assert [(each.epoch, each.is_fenced) for each in found] == [("e", False), ("f", False)]
    assert isinstance(found[0], Epoch)
    of_e = await bus.epochs.claims_of("e", 0, 10)
    assert {each.execution_id for _, each in of_e} == {claims[0].execution_id, claims[2].execution_id}
    places = [place for place, _ in of_e]
    assert places == sorted(places)
    assert [each for _, each in await bus.epochs.claims_of("e", places[0], 10)] == [of_e[1][1]]
    assert [each for _, each in await bus.epochs.claims_of("f", 0, 10)] == [later]
