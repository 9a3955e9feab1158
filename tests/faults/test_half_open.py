"""Connections that pass nothing on and tell nobody, as those of a lost network, and consumers that are lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from bus.open import make_bus
from bus.ports import Bus
from tests.integration.bus.conftest import POOLS
from tests.integration.bus.messages import claim, command, soon, take
from tests.support.broker import OwnBroker
from tests.support.cut_proxy import CutProxy, tcp_cut_proxy
from tests.support.ports import free_port
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(180)]

log = structlog.get_logger()

#: Seconds in which each side must notice that the other is gone; ours takes no heartbeats for it, which would need 24.
NOTICE_SECONDS, OUR_NOTICE_SECONDS = 25.0, 15.0


@pytest.fixture
async def stalling(own_broker: OwnBroker, tmp_path: Path) -> AsyncIterator[tuple[CutProxy, Bus, Bus]]:
    """A proxy, a bus that uses it, and one that does not."""
    url, port = own_broker.new_vhost_url(), free_port()
    async with tcp_cut_proxy(port, own_broker.port) as proxy:
        buses = []
        for name, address in (("cut", url.replace(f":{own_broker.port}/", f":{port}/")), ("free", url)):
            (tmp_path / name).mkdir()
            buses.append(make_bus(address, state_dir=tmp_path / name, name=name))
        for bus in buses:
            await bus.open(POOLS)
        yield proxy, buses[0], buses[1]
        proxy.mend()
        for bus in buses:
            await bus.close()


async def test_fault5_a_half_open_connection_is_noticed_by_both_sides_and_its_command_is_started_once(
    stalling: tuple[CutProxy, Bus, Bus],
) -> None:
    proxy, cut, free = stalling
    # Given a command in the hands of a runner, and another runner and a subscriber who wait
    sent = command()
    await cut.commands.accept("default", sent)
    in_hand = await take(cut)
    mine, theirs = claim(sent.id or ""), claim(sent.id or "")
    waiting = asyncio.create_task(free.commands.take("default", 1))

    # When the network is lost
    stalled_at = time.monotonic()
    proxy.stall()

    async def connected() -> bool:
        return cut.state.connected

    # Then the runner notices
    await eventually(connected, lambda seen: not seen, within_seconds=OUR_NOTICE_SECONDS, every_seconds=0.1)
    noticed_seconds = time.monotonic() - stalled_at
    # and so does the server, which gives the command to the other one
    again = await asyncio.wait_for(waiting, NOTICE_SECONDS - noticed_seconds)
    log.info(
        "half open",
        action="measured",
        noticed_seconds=round(noticed_seconds, 1),
        redelivered_seconds=round(time.monotonic() - stalled_at, 1),
    )
    assert again.message == sent
    assert await soon(free.decisions.decide(theirs)) == theirs
    await again.done()

    # and once the network is back, the first one learns that it is not its own any more, and consumes again
    proxy.mend()
    assert await asyncio.wait_for(cut.decisions.decide(mine), 30) == theirs
    await in_hand.done()
    later = command()
    await free.commands.accept("default", later)
    assert (await take(cut)).message == later
