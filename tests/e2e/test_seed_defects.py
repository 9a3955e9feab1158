"""What the seed fails at, kept as tests."""

import asyncio
import itertools
from collections import Counter

import aiohttp
import pytest

from tests.e2e.conftest import HubMaker
from tests.support.api import FINISHED, Api
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = pytest.mark.docker


async def logged_in(hub: HubProcess, session: aiohttp.ClientSession) -> Api:
    api = Api(session)
    await api.log_in()
    return api


@pytest.mark.timeout(300)
async def test_b7_a_hundred_one_second_runs_at_limit_five_all_complete_and_never_more_than_five_run(make_hub: HubMaker) -> None:
    hub = make_hub(HUB_MAX_CONCURRENT_EXECUTIONS="5")
    hub.start()
    async with aiohttp.ClientSession(hub.address) as session:
        api = await logged_in(hub, session)
        for _ in range(100):
            await api.submit("sleeps", seconds=1)
        seen: Counter[int] = Counter()

        async def completed() -> int:
            # Docker's own count, and the hub's: both must stay within the limit.
            running = len(await asyncio.to_thread(hub.containers, "running"))
            concurrent = (await api.get("/executions/concurrent"))["concurrent_count"]
            seen.update([max(running, concurrent)])
            records = await api.get("/executions")
            assert {record["status"] for record in records} <= {"queued", "running", "completed"}
            return sum(record["status"] in FINISHED for record in records)

        assert await eventually(completed, lambda count: count == 100, within_seconds=240, every_seconds=0.2) == 100
        # Where Docker is slow to start them, the first has ended before the fifth runs.
        assert 2 <= max(seen) <= 5
        stats = await api.get("/executions/stats")
        assert stats["by_status"]["completed"] == [{"total": 100, "name": "sleeps"}]
        assert stats["total"] == 100


async def test_b7_a_limit_of_one_runs_one_after_the_other(make_hub: HubMaker) -> None:
    hub = make_hub(HUB_MAX_CONCURRENT_EXECUTIONS="1")
    hub.start()
    async with aiohttp.ClientSession(hub.address) as session:
        api = await logged_in(hub, session)
        ids = [await api.submit("sleeps", seconds=0.5) for _ in range(3)]
        records = sorted([await api.finished(execution_id) for execution_id in ids], key=lambda record: record["start_time"])
        assert [record["status"] for record in records] == ["completed"] * 3
        assert all(one["end_time"] <= other["start_time"] for one, other in itertools.pairwise(records))


async def test_b8_after_kill_9_with_five_queued_a_restart_runs_each_once(make_hub: HubMaker) -> None:
    hub = make_hub(HUB_MAX_CONCURRENT_EXECUTIONS="1")
    hub.start()
    async with aiohttp.ClientSession(hub.address) as session:
        api = await logged_in(hub, session)
        first = await api.submit("sleeps", seconds=5)

        async def running() -> int:
            count: int = (await api.get("/executions/concurrent"))["concurrent_count"]
            return count

        await eventually(running, lambda count: count == 1)
        queued = [await api.submit("counts") for _ in range(5)]
    hub.kill()

    hub.start()
    async with aiohttp.ClientSession(hub.address) as session:
        api = await logged_in(hub, session)
        records = [await api.finished(execution_id) for execution_id in queued]
        assert [record["status"] for record in records] == ["completed"] * 5
        starts = (hub.folder / "scripts" / "counts" / "starts").read_text(encoding="ascii").split()
        assert sorted(starts) == sorted(queued)
        # The one that ran was taken up, and has its true ending.
        taken_up = await api.finished(first)
        assert (taken_up["status"], taken_up["exit_code"], taken_up["attempt"]) == ("completed", 0, 1)
        stats = await api.get("/executions/stats")
        assert stats["total"] == 6

    async def containers() -> list[str]:
        return await asyncio.to_thread(hub.containers)

    await eventually(containers, lambda ids: not ids, within_seconds=15)


async def test_an_idle_hub_is_small_and_answers_soon(make_hub: HubMaker) -> None:
    hub = make_hub()
    hub.start()
    assert (
        hub.cpu_seconds() < 4
    )  # twice the goal of 2 s from start to answer, in processor time: a busy machine does not decide it
    assert hub.rss_bytes() < 150 * 1024**2
