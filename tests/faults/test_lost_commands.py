"""Commands that are gone, and a log that is another one: real gateways and runners say what became of each execution."""

import asyncio
from typing import Any
from uuid import uuid4

import aio_pika
import aiohttp
import pytest

from bus import topology
from tests.e2e.conftest import HubMaker
from tests.integration.bus.amqp import channel_to, publish
from tests.support.api import Api
from tests.support.broker import Broker
from tests.support.hub_process import ROOT
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(240)]

#: What a process does first: a minute of calm is half a dozen seconds here.
QUICK = """
from hub.lost_commands import LostCommands

LostCommands.__init__.__kwdefaults__ |= {"calm_seconds": 6.0, "look_seconds": 1.0, "gap_seconds": 0.0}
"""


async def test_bus4_bus6_purged_commands_run_expired_ones_end_and_a_new_log_is_said(make_hub: HubMaker, broker: Broker) -> None:
    url = broker.new_vhost_url()
    hub = make_hub(parts=("gateway", "runner"), bus_url=url)
    (hub.folder / "sitecustomize.py").write_text(QUICK, encoding="utf-8")
    hub.environment["PYTHONPATH"] = f"{hub.folder}:{ROOT}"
    hub.edit(lambda config: config.setdefault("settings", {}).update(max_concurrent_executions=1))
    hub.start()
    async with channel_to(url) as channel, aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        runs = await api.submit("sleeps", seconds=20)

        async def status() -> Any:
            return (await api.get(f"/executions/{runs}"))["status"]

        await eventually(status, lambda seen: seen == "running", within_seconds=30)

        # The runner's one slot is taken: these wait in the queue.
        purged = [await api.submit("hello") for _ in range(3)]
        work = await channel.get_queue(topology.work_queue("default").name)
        assert (await work.purge()).message_count == 3
        expired = str(uuid4())
        message = aio_pika.Message(b'{"program_id": "hello"}', message_id=expired, expiration=0.2)
        await publish(channel, topology.COMMANDS, "execute.default", message)

        record = await api.finished(expired, within_seconds=15)
        assert (record["status"], record["reason"], record["category"]) == ("failed", "expired", "system")
        # What is gone is published again: accepted is accepted.
        for execution_id in purged:
            assert (await api.finished(execution_id, within_seconds=60))["status"] == "completed"
        # What runs meanwhile is nobody's loss.
        assert (await api.finished(runs))["status"] == "completed"
        assert (await api.run("hello"))["status"] == "completed"

        await asyncio.to_thread(hub.stop)
        await channel.queue_delete(topology.LOG)
        await asyncio.to_thread(hub.start)
        await api.log_in()
        assert (await api.run("hello"))["status"] == "completed"

        async def health() -> Any:
            return await api.get("/health")

        seen = await eventually(health, lambda answer: "history" in answer["problems"], within_seconds=40)
        assert seen["status"] == "degraded"
        assert "the log is another one than before" in seen["problems"]["history"]
        assert (await api.get(f"/executions/{runs}"))["status"] == "completed"
        assert (await api.run("hello"))["status"] == "completed"
