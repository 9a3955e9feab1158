"""The whole hub is killed by force while programs run and wait, three times over."""

import asyncio

import aiohttp
import pytest

from tests.e2e.conftest import HubMaker
from tests.support.api import Api

pytestmark = pytest.mark.docker

LINES = 100
#: Leaves a line for its start, writes for some seconds, and exits with a code made of its own id.
WRITES = f"""
import os, time
name = os.environ["EXECUTION_ID"]
with open("/workspace/starts", "a") as starts:
    starts.write(name + "\\n")
for number in range({LINES}):
    print(number, name, flush=True)
    time.sleep(0.04)
raise SystemExit(sum(map(ord, name)) % 100 + 1)
"""


async def test_b8_m10_killed_three_times_with_three_running_and_five_queued_all_end_as_they_should_each_started_once(
    make_hub: HubMaker,
) -> None:
    hub = make_hub(HUB_MAX_CONCURRENT_EXECUTIONS="3")
    hub.write_program("writes", WRITES)
    hub.start()
    submitted: list[str] = []
    for seconds in (1.5, 2.5, 1.0):
        async with aiohttp.ClientSession(hub.address) as session:
            api = Api(session)
            await api.log_in()
            if not submitted:
                submitted = [await api.submit("writes") for _ in range(8)]
            await asyncio.sleep(seconds)  # how long it lives, not something to wait for
        hub.kill()
        hub.start()
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        for execution_id in submitted:
            record = await api.finished(execution_id)
            assert record["exit_code"] == sum(map(ord, execution_id)) % 100 + 1
            assert record["output"] == "".join(f"{number} {execution_id}\n" for number in range(LINES))
        statistics = await api.get("/executions/stats")
        assert statistics["by_status"]["failed"] == [{"total": 8, "name": "writes"}]
    starts = (hub.folder / "scripts" / "writes" / "starts").read_text(encoding="ascii").split()
    assert sorted(starts) == sorted(submitted)
