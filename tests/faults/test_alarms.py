"""RabbitMQ is short of disk: requests are refused in time, and what it took all the same runs once."""

import asyncio
import time

import aiohttp
import pytest
import structlog

from tests.e2e.conftest import HubMaker
from tests.support.api import Api
from tests.support.broker import OwnBroker
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(180)]

log = structlog.get_logger()

KEY = {"Idempotency-Key": "in-need-of-room"}


async def test_fault6_m27_under_a_disk_alarm_requests_are_refused_in_time_and_a_ghost_is_the_same_id_and_runs_once(
    make_hub: HubMaker, own_broker: OwnBroker
) -> None:
    hub = make_hub(parts=("gateway", "runner"), bus_url=own_broker.new_vhost_url())
    hub.start()
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        await asyncio.to_thread(own_broker.control, "set_disk_free_limit", "100000GB")
        try:

            async def alarms() -> str:
                return await asyncio.to_thread(own_broker.control, "eval", "rabbit_alarm:get_alarms().")

            await eventually(alarms, lambda text: "disk" in text, within_seconds=30)
            refused, slowest = [], 0.0
            for _ in range(5):
                asked_at = time.monotonic()
                answered, headers, problem = await api.call("POST", "/execute", {"program_id": "counts"}, headers=KEY)
                slowest = max(slowest, time.monotonic() - asked_at)
                assert (answered, headers["Content-Type"]) == (503, "application/problem+json"), problem
                assert int(headers["Retry-After"]) > 0
                refused.append(problem)
            log.info("disk alarm", action="measured", slowest_seconds=round(slowest, 2))
            assert slowest < 2.5
            assert {problem["outcome"] for problem in refused} == {"unknown"}
            health = await api.get("/health")
            assert health["status"] == "degraded"
            assert "memory or disk alarm" in health["problems"]["bus"]
        finally:
            await asyncio.to_thread(own_broker.control, "set_disk_free_limit", "50MB")

        async def problems() -> object:
            return (await api.get("/health")).get("problems")

        await eventually(problems, lambda seen: not seen, within_seconds=30)
        # Whoever asks again with the key gets the one that was taken all the same.
        answered, _, body = await api.call("POST", "/execute?wait=30", {"program_id": "counts"}, headers=KEY)
        assert answered == 200, body
        assert {problem["execution_id"] for problem in refused} == {body["execution_id"]}
        assert (body["status"], body["exit_code"]) == ("completed", 0)
    starts = (hub.folder / "scripts" / "counts" / "starts").read_text(encoding="utf-8").split()
    assert starts == [body["execution_id"]]
