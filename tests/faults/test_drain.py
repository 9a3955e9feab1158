"""What a stop in good order does, part by part, on processes that get a SIGTERM."""

import asyncio
import signal
import time
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest

from tests.faults.failpoint_hub import FailpointHub
from tests.support.broker import Broker, OwnBroker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(240)]

#: Seconds from SIGTERM to a process's end.
LIMIT_SECONDS = 10.0


async def test_m26_fault24_a_stopped_runner_takes_nothing_more_gives_back_lets_go_and_tells_all_it_knows(
    tmp_path: Path, broker: Broker
) -> None:
    async with FailpointHub(tmp_path, broker.new_vhost_url()).opened() as hub:
        # Given two programs that run, and three commands that wait for a slot
        hub.runner.environment |= {"HUB_MAX_CONCURRENT_EXECUTIONS": "2", "HUB_STOP_SECONDS": "1"}
        await hub.have(hub.runner)
        running = [await hub.submit("writes", str(uuid4()), pause=0.5) for _ in range(2)]
        for execution_id in running:
            await hub.is_running(execution_id)
        waiting = [await hub.submit("writes", str(uuid4())) for _ in range(3)]

        # When the runner is asked to stop
        assert await _stop(hub.runner, "runner") < LIMIT_SECONDS

        # Then it has claimed nothing more, all that it knew is told, and what runs, runs on
        assert hub.journal() == (2, 0)
        await eventually(lambda: _ready(hub), lambda ready: ready == 3)
        assert sorted(_names(hub.runner)) == sorted(running)
        assert [(await hub.record(each))["status"] for each in waiting] == ["queued"] * 3

        # and another runner has what waits, while the first takes up its own when it is back
        other = HubProcess(hub.folder, parts=("runner",), bus_url=hub.bus_url)
        other.environment["HUB_STATE_DIR"] = str(tmp_path / "other")
        try:
            other.launch()
            for execution_id in waiting:
                assert (await hub.finished(execution_id))["runner_id"] != (await hub.record(running[0]))["runner_id"]
            hub.runner.launch()
            for execution_id in (*running, *waiting):
                await hub.wrote_all(execution_id)
        finally:
            await asyncio.to_thread(other.close)


async def test_m26_fault24_with_rabbitmq_frozen_gateway_and_runner_stop_in_time_and_nothing_is_lost(
    tmp_path: Path, own_broker: OwnBroker
) -> None:
    async with FailpointHub(tmp_path, own_broker.new_vhost_url()).opened() as hub:
        # With the stop seconds that a runner has by default
        del hub.runner.environment["HUB_STOP_SECONDS"]
        del hub.gateway.environment["HUB_LEAVE_SECONDS"]
        hub.kill(hub.gateway)
        await hub.have(hub.gateway)
        await hub.have(hub.runner)
        execution_id = await hub.submit("writes", str(uuid4()), pause=1.0)
        await hub.is_running(execution_id)
        await asyncio.to_thread(own_broker.freeze)
        try:
            seconds = await asyncio.gather(_stop(hub.runner, "runner"), _stop(hub.gateway, "gateway"))
        finally:
            await asyncio.to_thread(own_broker.thaw)
        assert max(seconds) < LIMIT_SECONDS, seconds
        await hub.have(hub.gateway)
        await hub.have(hub.runner)
        await hub.wrote_all(execution_id)


async def _stop(part: HubProcess, name: str) -> float:
    """Seconds until it has ended after SIGTERM, in good order."""
    began = time.monotonic()
    part.send_signal(name, signal.SIGTERM)
    assert await asyncio.to_thread(part.death) == [0], part.log()[-3000:]
    return time.monotonic() - began


def _names(part: HubProcess) -> list[str]:
    return [part.inspect(container)["Name"].removeprefix("/") for container in part.containers("running")]


async def _ready(hub: FailpointHub) -> int:
    ready = -1

    async def count(channel: aio_pika.abc.AbstractChannel) -> None:
        nonlocal ready
        queue = await channel.declare_queue("hub.work.default", passive=True)
        ready = queue.declaration_result.message_count or 0

    await hub.amqp(count)
    return ready
