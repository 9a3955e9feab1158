"""Claims that the control stream has let go of."""

import asyncio
from pathlib import Path

import pytest

from bus.rabbitmq.bus import RabbitBus
from tests.integration.bus.amqp import cut_control
from tests.integration.bus.conftest import POOLS, Buses
from tests.integration.bus.messages import claim, soon
from tests.support.broker import OwnBroker
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(120)]


async def test_bus1_bus9_what_the_control_stream_has_let_go_of_every_copy_forgets_and_what_was_said_again_it_keeps(
    own_broker: OwnBroker, rabbits: Buses, tmp_path: Path
) -> None:
    bus = await rabbits.open(state="runner")
    done, running, later = (claim(name) for name in ("done", "running", "later"))
    for each in (done, running):
        await soon(bus.decisions.decide(each))
    await cut_control(own_broker, rabbits.url)
    for each in (running, later):
        await soon(bus.decisions.decide(each))
    assert await bus.decisions.decision_for("done", 1) == done, "nobody looks for what is to be forgotten all the time"
    await bus.close()

    bus = RabbitBus(rabbits.url, state_dir=tmp_path / "runner", name="test", forget_first_seconds=0.0)
    await bus.open(POOLS)
    try:
        await eventually(lambda: bus.decisions.decision_for("done", 1), lambda found: found is None)
        kept = [await bus.decisions.decision_for(name, 1) for name in ("running", "later")]
    finally:
        await bus.close()
    assert kept == [running, later]
    fresh = await rabbits.open()
    await soon(fresh.epochs.catch_up())
    assert [await fresh.decisions.decision_for(name, 1) for name in ("done", "running", "later")] == [None, running, later]


async def test_bus1_nothing_is_forgotten_of_a_control_stream_that_was_not_cut(rabbits: Buses, tmp_path: Path) -> None:
    state_dir = tmp_path / "only"
    state_dir.mkdir()
    bus = RabbitBus(rabbits.url, state_dir=state_dir, name="test")
    await bus.open(POOLS)
    try:
        claims = [claim(str(number)) for number in range(5)]
        await soon(asyncio.gather(*map(bus.decisions.decide, claims)))
        await soon(bus._tail.forget())
        assert [await bus.decisions.decision_for(each.execution_id, 1) for each in claims] == claims
    finally:
        await bus.close()
