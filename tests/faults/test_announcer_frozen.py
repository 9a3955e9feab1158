"""The process that announces is frozen, another takes over, and it wakes."""

import asyncio
import signal
from pathlib import Path

import pytest

from bus.open import make_bus
from tests.e2e.conftest import HubMaker
from tests.faults.load import Heard, Load
from tests.support.broker import OwnBroker
from tests.support.hub_process import HubProcess
from tests.support.runner_fixtures import make_hub as make_runner_hub
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(180)]

#: Heartbeats of the gateways' connections, so that the broker soon believes a frozen one gone.
HEARTBEAT_SECONDS = 4


async def test_bus7_an_announcer_that_was_frozen_and_wakes_announces_nothing_late_and_nothing_under_other_ids(
    make_hub: HubMaker, own_broker: OwnBroker, tmp_path: Path
) -> None:
    # Given two gateways, of which the first announces, and a subscriber
    url = own_broker.new_vhost_url()
    gateways = [make_hub(parts=("gateway",), bus_url=f"{url}?heartbeat={HEARTBEAT_SECONDS}") for _ in range(2)]
    for gateway in gateways:
        gateway.write_program("example", "")
        await asyncio.to_thread(gateway.start)
        await asyncio.sleep(1)  # the first has the lock
    first, second = gateways
    (tmp_path / "bus").mkdir()
    bus = make_bus(url, state_dir=tmp_path / "bus", name="runner and subscriber")
    await bus.open(frozenset({"default"}))
    runner = make_runner_hub(tmp_path, max_concurrent_executions=5)
    runner.bus = bus  # type: ignore[assignment]
    load, heard = Load(), Heard()

    async def told() -> int:
        return len(heard.ended())

    try:
        async with runner.runner(), heard.of(bus, "billing"):
            async with load.on(second):
                await eventually(told, lambda seen: seen > 10, within_seconds=20)

                assert announces(first)
                assert not announces(second)

                # When it is frozen in the middle of it
                first.send_signal("gateway", signal.SIGSTOP)
                before = await told()
                # then the other one goes on, from where it was
                await eventually(told, lambda seen: seen > before + 20, within_seconds=60)

                # and when it wakes
                first.send_signal("gateway", signal.SIGCONT)
                woken = await told()
                await eventually(told, lambda seen: seen > woken + 30, within_seconds=30)

            async def untold() -> set[str]:
                return load.accepted - heard.ended()

            await eventually(untold, lambda left: not left, within_seconds=30)
            # then nothing comes after an end, and nothing comes under another id
            assert heard.late == []
            assert {len(endings) for endings in heard.endings.values()} == {1}
            ids = {execution: list(events.values()) for execution, events in heard.events.items()}
            assert set(map(tuple, ids.values())) == {("queued", "running", "completed")}
            assert announces(second)
    finally:
        first.send_signal("gateway", signal.SIGCONT)
        await bus.close()


def announces(gateway: HubProcess) -> bool:
    """Whether it has ever held the lock."""
    return "announcer_holds" in gateway.log()
