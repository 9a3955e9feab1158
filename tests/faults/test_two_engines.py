"""Two runners on two Docker engines, and one engine goes away for good, with its runner."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from bus.messages import LEASES_A_TTL
from runner import labels
from tests.e2e.conftest import HubMaker, user_of
from tests.support.api import Api
from tests.support.hub_process import HubProcess
from tests.support.own_engine import OwnEngine
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(180)]

LEASE_SECONDS = 1.0
TTL_SECONDS = LEASES_A_TTL * LEASE_SECONDS
#: Beyond what it should take: this machine may be busy.
SLACK_SECONDS = 10.0
#: Leaves a line for each start, and ends when a file beside it says so.
WAITS = """
import os, time
with open("/workspace/starts", "a") as starts:
    starts.write(os.environ["EXECUTION_ID"] + "\\n")
print("attempt", os.environ["EXECUTION_ATTEMPT"], flush=True)
while not os.path.exists("/workspace/end"):
    time.sleep(0.05)
"""


#: Beside them there may be a network that is kept ready.
OF_PROGRAMS = f"--filter=label={labels.EXECUTION_ID}"


class Fleet:
    """A gateway, and a runner on each engine."""

    def __init__(self, make_hub: HubMaker, url: str, own_engine: OwnEngine, image: str) -> None:
        def make(part: str, **variables: str) -> HubProcess:
            hub = make_hub(bus_url=url, parts=(part,), HUB_LEASE_SECONDS=str(LEASE_SECONDS), **variables)
            hub.write_program("once", WAITS)
            hub.write_program("again", WAITS, retry={"max": 1, "on": ["runner_lost"], "backoff": "1s"})
            hub.edit(lambda config: config["settings"].update(max_concurrent_executions=4, docker_image=image))
            return hub

        self.gateway = make("gateway")
        self.runner = make("runner")
        self.runner_apart = make("runner", HUB_DOCKER_HOST=own_engine.address)


@pytest.fixture
async def fleet(make_hub: HubMaker, amqp_url: str, own_engine: OwnEngine, python_image: str) -> AsyncIterator[Fleet]:
    fleet = Fleet(make_hub, amqp_url, own_engine, python_image)
    yield fleet
    await asyncio.to_thread(fleet.runner_apart.kill)
    await asyncio.to_thread(own_engine.power_on)
    if left := own_engine.docker("ps", "--all", "--quiet").split():
        own_engine.docker("rm", "--force", *left)


async def test_fault1_m8_where_an_engine_and_its_runner_are_gone_for_good_what_ran_is_lost_and_its_retries_run_on_the_other(
    fleet: Fleet, own_engine: OwnEngine
) -> None:
    async with user_of(fleet.gateway) as api:
        fleet.runner_apart.start()
        lost = [await api.submit("once") for _ in range(2)]
        retried = [await api.submit("again") for _ in range(2)]
        await running(api, *lost, *retried)
        # It has no slot left.
        fleet.runner.start()
        unharmed = [await api.submit("once") for _ in range(2)]
        await running(api, *unharmed)
        assert sorted(starts(fleet.runner_apart, "once")) == sorted(lost)
        assert len(own_engine.docker("ps", "--quiet", OF_PROGRAMS).split()) == 4

        await asyncio.to_thread(own_engine.lose_power)
        fleet.runner_apart.kill()
        killed_at = time.monotonic()
        for name in lost:
            record = await api.finished(name, within_seconds=TTL_SECONDS + 2 * LEASE_SECONDS + SLACK_SECONDS)
            assert (record["status"], record["reason"], record["category"]) == ("failed", "runner_lost", "system")
        assert time.monotonic() - killed_at < TTL_SECONDS + 2 * LEASE_SECONDS + SLACK_SECONDS
        await running(api, *retried)
        assert {name: starts(fleet.runner, "again").count(name) for name in retried} == dict.fromkeys(retried, 1)

        for program in ("once", "again"):
            (fleet.runner.folder / "scripts" / program / "end").touch()
        for name in retried:
            record = await api.finished(name)
            assert (record["status"], record["output"]) == ("completed", "attempt 2\n")
            assert [attempt["reason"] for attempt in record["attempts"]] == ["runner_lost"]
        for name in unharmed:
            record = await api.finished(name)
            assert (record["status"], record["output"]) == ("completed", "attempt 1\n")

        # Both come back after all: nothing of what was lost is started again, and nothing of it stays.
        await asyncio.to_thread(own_engine.power_on)
        assert len(own_engine.docker("ps", "--all", "--quiet", OF_PROGRAMS).split()) == 4
        fleet.runner_apart.start()

        async def left() -> str:
            return own_engine.docker("ps", "--all", "--quiet", OF_PROGRAMS)

        await eventually(left, lambda names: names == "", within_seconds=30, every_seconds=0.2)
        assert sorted(starts(fleet.runner_apart, "once")) == sorted(lost)
        assert sorted(starts(fleet.runner_apart, "again")) == sorted(retried)
        for name in lost:
            assert (await api.get(f"/executions/{name}"))["reason"] == "runner_lost"


async def running(api: Api, *execution_ids: str) -> None:
    """Until these run."""

    async def statuses() -> set[str]:
        return {(await api.get(f"/executions/{name}"))["status"] for name in execution_ids}

    await eventually(statuses, lambda seen: seen == {"running"}, within_seconds=30, every_seconds=0.1)


def starts(runner: HubProcess, program: str) -> list[str]:
    """Ids of the executions that a runner started, once for each start."""
    file = runner.folder / "scripts" / program / "starts"
    return file.read_text(encoding="ascii").split() if file.exists() else []
