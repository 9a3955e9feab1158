"""Gateway, runner and RabbitMQ are killed in one moment, as with their machine, and started again in any order."""

import asyncio
import signal
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.failpoint_hub import FailpointHub
from tests.support.broker import OwnBroker
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(400)]

ORDERS = (("broker", "gateway", "runner"), ("runner", "gateway", "broker"), ("gateway", "broker", "runner"))


async def test_fault35_fault1_all_processes_killed_at_once_nothing_is_lost_and_nothing_runs_twice(
    tmp_path: Path, own_broker: OwnBroker
) -> None:
    async with FailpointHub(tmp_path, own_broker.new_vhost_url()).opened() as hub:
        await hub.have(hub.runner)
        submitted: list[str] = []
        for order in ORDERS:
            # Some will run, and some wait: four may run at a time.
            latest = [await hub.submit("writes", str(uuid4()), pause=0.2) for _ in range(4)]
            submitted += latest
            await hub.has_started(latest[0])
            await asyncio.gather(*(_kill(name, hub, own_broker) for name in order))
            for name in order:
                await _start(name, hub, own_broker)
        for execution_id in submitted:
            await hub.finished(execution_id, within_seconds=90)
        for execution_id in submitted:
            await hub.wrote_all(execution_id)


async def _kill(name: str, hub: FailpointHub, broker: OwnBroker) -> None:
    if name == "broker":
        await asyncio.to_thread(broker.kill)
        return
    part = hub.part(name)
    part.send_signal(name, signal.SIGKILL)
    assert await asyncio.to_thread(part.death) == [-9]


async def _start(name: str, hub: FailpointHub, broker: OwnBroker) -> None:
    if name == "broker":

        async def started() -> bool:
            # Docker may still be busy with the end of it.
            await asyncio.to_thread(broker.start)
            return True

        await eventually(started)
    else:
        hub.part(name).launch()
