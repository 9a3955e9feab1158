"""RabbitMQ goes away while programs run: they run on, nothing is accepted that could be lost, and all is told afterwards."""

import asyncio
import time

import aiohttp
import pytest

from tests.e2e.conftest import HubMaker
from tests.support.api import Api
from tests.support.broker import OwnBroker
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(240)]


async def test_n10_a_program_outlives_the_brokers_absence_and_requests_are_refused_in_time(
    make_hub: HubMaker, own_broker: OwnBroker
) -> None:
    hub = make_hub(parts=("gateway", "runner"), bus_url=own_broker.new_vhost_url())
    hub.start()
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        running = await api.submit("sleeps", seconds=4)

        async def status() -> str:
            record = await api.get(f"/executions/{running}")
            return str(record["status"])

        await eventually(status, lambda seen: seen == "running")
        await asyncio.to_thread(own_broker.stop)
        try:
            asked_at = time.monotonic()
            answered, headers, problem = await api.call("POST", "/execute", {"program_id": "hello"})
            assert time.monotonic() - asked_at < 3  # the limit is 2 s; the machine may be busy stopping the broker
            assert (answered, headers["Content-Type"]) == (503, "application/problem+json"), problem
            assert int(headers["Retry-After"]) > 0
            health = await api.get("/health")
            assert health["status"] == "degraded"
            assert "bus" in health["problems"]
            assert await status() == "running"

            async def containers() -> list[str]:
                return await asyncio.to_thread(hub.containers, "running")

            # It ends while nobody can be told.
            await eventually(containers, lambda ids: not ids, within_seconds=30)
        finally:
            await asyncio.to_thread(own_broker.start)
        record = await api.finished(running, within_seconds=60)
        assert (record["status"], record["exit_code"]) == ("completed", 0)

        async def accepted() -> int:
            answered, _, _ = await api.call("POST", "/execute", {"program_id": "hello"})
            return answered

        await eventually(accepted, lambda answered: answered == 202, within_seconds=30)
        stats = await api.get("/executions/stats")
        assert sum(entry["total"] for entries in stats["by_status"].values() for entry in entries) == stats["total"]


async def test_fault6_m27_under_a_memory_alarm_requests_are_refused_in_time_and_it_goes_on_by_itself(
    make_hub: HubMaker, own_broker: OwnBroker
) -> None:
    hub = make_hub(parts=("gateway", "runner"), bus_url=own_broker.new_vhost_url())
    hub.start()
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        await asyncio.to_thread(own_broker.control, "set_vm_memory_high_watermark", "0.00001")
        try:
            refused = []
            for _ in range(3):
                asked_at = time.monotonic()
                answered, headers, problem = await api.call("POST", "/execute", {"program_id": "hello"})
                assert time.monotonic() - asked_at < 2.5
                assert (answered, headers["Content-Type"]) == (503, "application/problem+json"), problem
                assert int(headers["Retry-After"]) > 0
                refused.append(problem)
            health = await api.get("/health")
            assert health["status"] == "degraded"
            assert "memory or disk alarm" in health["problems"]["bus"]
        finally:
            await asyncio.to_thread(own_broker.control, "set_vm_memory_high_watermark", "0.4")

        async def problems() -> object:
            return (await api.get("/health")).get("problems")

        await eventually(problems, lambda seen: not seen, within_seconds=15)
        assert (await api.run("hello"))["status"] == "completed"
        # Those whose outcome was unknown may have been taken all the same, and were withdrawn: each ends, one way or the other.
        for problem in refused:
            if problem.get("outcome") == "unknown":
                assert (await api.finished(problem["execution_id"]))["status"] in ("completed", "cancelled")
