"""Runners that are killed for good, frozen, copied and replaced, on a real RabbitMQ: nothing is lost, nothing runs twice."""

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import aiohttp
import pytest

from bus import topology
from bus.messages import LEASES_A_TTL
from schemas.late_result_events import LATE_RESULT_KEYS
from tests.e2e.conftest import HubMaker, user_of
from tests.support.api import Api
from tests.support.broker import OwnBroker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]

LEASE_SECONDS = 1.0
TTL_SECONDS = LEASES_A_TTL * LEASE_SECONDS
#: Beyond what it should take: this machine may be busy.
SLACK_SECONDS = 10.0
#: Leaves a line for each start, and ends when it is told to, by a file.
COUNTS = """
import os, time
name = os.environ["EXECUTION_ID"]
with open("/workspace/starts", "a") as starts:
    starts.write(name + "\\n")
print("began", flush=True)
while not os.path.exists("/workspace/end"):
    time.sleep(0.05)
print("ended", flush=True)
"""


class Fleet:
    """One gateway and the runners that a test starts, all on one RabbitMQ."""

    def __init__(self, make_hub: HubMaker, url: str) -> None:
        self._make_hub = make_hub
        self._url = url
        self.gateway = self.make("gateway")
        self.runners: list[HubProcess] = []

    def make(self, part: str, **variables: str) -> HubProcess:
        """A process, not started."""
        hub = self._make_hub(bus_url=self._url, parts=(part,), HUB_LEASE_SECONDS=str(LEASE_SECONDS), **variables)
        hub.write_program("waits", COUNTS, timeout_seconds=300)
        return hub

    def runner(self, **variables: str) -> HubProcess:
        """A runner, not started."""
        runner = self.make("runner", **variables)
        self.runners.append(runner)
        return runner

    def starts(self) -> list[str]:
        """Ids of the executions that were started on any runner, once for each start."""
        files = [runner.folder / "scripts" / "waits" / "starts" for runner in self.runners]
        return [line for file in files if file.exists() for line in file.read_text(encoding="ascii").split()]

    def let_end(self) -> None:
        """What waits ends, on all runners."""
        for runner in self.runners:
            (runner.folder / "scripts" / "waits" / "end").touch()

    @asynccontextmanager
    async def heard(self) -> AsyncIterator[list[tuple[str, str]]]:
        """What a subscriber hears: (routing key, execution id), from now on."""
        found: list[tuple[str, str]] = []
        async with await aio_pika.connect(self._url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(topology.EXECUTIONS, "execution.#")

            async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
                found.append((message.routing_key or "", (message.message_id or "").partition(":")[0]))

            await queue.consume(take, no_ack=True)
            yield found


@pytest.fixture
async def fleet(make_hub: HubMaker, amqp_url: str) -> Fleet:
    return Fleet(make_hub, amqp_url)


async def until(probe: Callable[[], Any], *, within_seconds: float = 30.0) -> None:
    """Until something is so."""

    async def ask() -> bool:
        return bool(probe())

    await eventually(ask, within_seconds=within_seconds, every_seconds=0.1)


async def running(api: Api, *execution_ids: str) -> None:
    """Until these run."""

    async def statuses() -> set[str]:
        return {(await api.get(f"/executions/{name}"))["status"] for name in execution_ids}

    await eventually(statuses, lambda seen: seen == {"running"}, within_seconds=30, every_seconds=0.1)


async def runners_asked(api: Api) -> tuple[int, list[str]]:
    """How many runners count as living, and which gave no answer."""
    answer = await api.get("/containers/active")
    health = await api.get("/health")
    return health["live_runners"], answer.get("missing_runners", [])


async def test_fault1_a_runner_killed_for_good_ends_what_it_had_as_lost_within_its_lease_and_is_gone_from_the_routes(
    fleet: Fleet,
) -> None:
    async with user_of(fleet.gateway) as api, fleet.heard() as heard:
        dead, alive = fleet.runner(), fleet.runner()
        dead.start()
        ids = [await api.submit("waits") for _ in range(2)]
        await running(api, *ids)
        alive.start()
        await eventually(lambda: runners_asked(api), lambda seen: seen == (2, []), within_seconds=20)
        dead.kill()
        killed_at = time.monotonic()
        records = [await api.finished(name, within_seconds=TTL_SECONDS + 2 * LEASE_SECONDS + SLACK_SECONDS) for name in ids]
        took = time.monotonic() - killed_at
        # Its last lease was some time old when it was killed: the exact number of ticks is a unit test.
        assert took > TTL_SECONDS / 2
        assert took < TTL_SECONDS + 2 * LEASE_SECONDS + SLACK_SECONDS, f"{took:.1f} s"
        for record in records:
            assert (record["status"], record["reason"], record["category"]) == ("failed", "runner_lost", "system")
            assert "began" in record["output"]
        await eventually(lambda: runners_asked(api), lambda seen: seen == (1, []), within_seconds=20)
        # The other one works on as if nothing had happened.
        after = await api.submit("waits")
        fleet.let_end()
        assert (await api.finished(after))["status"] == "completed"
        assert sorted(fleet.starts()) == sorted([*ids, after])
        for name in ids:
            assert [key for key, each in heard if each == name and "completed" not in key][-1] == "execution.failed.waits"


async def test_bus1_a_runner_frozen_past_its_lease_kills_what_it_had_on_waking_and_works_on_under_a_new_epoch(
    fleet: Fleet,
) -> None:
    async with user_of(fleet.gateway) as api, fleet.heard() as heard:
        runner = fleet.runner()
        runner.start()
        name = await api.submit("waits")
        await running(api, name)
        runner.send_signal("runner", signal.SIGSTOP)
        record = await api.finished(name, within_seconds=TTL_SECONDS + SLACK_SECONDS)
        assert (record["status"], record["reason"]) == ("failed", "runner_lost")
        assert len(runner.containers("running")) == 1, "nobody is there who could kill it"
        # What it would have told, had nobody stopped it.
        fleet.let_end()
        await until(lambda: not runner.containers("running"))
        (runner.folder / "scripts" / "waits" / "end").unlink()
        runner.send_signal("runner", signal.SIGCONT)
        await until(lambda: not runner.containers())
        after = await api.submit("waits")
        await running(api, after)
        fleet.let_end()
        assert (await api.finished(after))["status"] == "completed"
        assert (await api.get(f"/executions/{name}"))["reason"] == "runner_lost"
        told = [key for key, each in heard if each == name]
        assert told == [
            "execution.queued.waits",
            "execution.running.waits",
            "execution.failed.waits",
            f"{LATE_RESULT_KEYS}waits",
        ], "one terminal, and no event of the execution's status after it"
        assert fleet.starts() == [name, after]
        assert "epoch_renewed" in runner.log()


async def test_bus1_a_runner_frozen_with_a_program_that_still_runs_kills_it_on_waking(fleet: Fleet) -> None:
    async with user_of(fleet.gateway) as api:
        runner = fleet.runner()
        runner.start()
        name = await api.submit("waits")
        await running(api, name)
        (container,) = runner.containers("running")
        runner.send_signal("runner", signal.SIGSTOP)
        assert (await api.finished(name, within_seconds=TTL_SECONDS + SLACK_SECONDS))["reason"] == "runner_lost"
        assert runner.containers("running") == [container]
        runner.send_signal("runner", signal.SIGCONT)
        await until(lambda: not runner.containers())


async def test_bus1_a_runner_frozen_with_a_command_in_its_socket_wakes_when_another_has_run_it_one_start(fleet: Fleet) -> None:
    async with user_of(fleet.gateway) as api:
        frozen, other = fleet.runner(), fleet.runner()
        frozen.start()
        await eventually(lambda: runners_asked(api), lambda seen: seen == (1, []), within_seconds=20)
        first = await api.submit("counts")
        await api.finished(first)
        frozen.send_signal("runner", signal.SIGSTOP)
        # Pushed to the one runner there is, which does not read it.
        name = await api.submit("waits")
        other.start()
        # RabbitMQ gives the frozen one up when its heartbeats have been missing for long enough, and hands the command on.
        await eventually(
            lambda: api.get(f"/executions/{name}"), lambda record: record["status"] == "running", within_seconds=60
        )
        frozen.send_signal("runner", signal.SIGCONT)
        await until(lambda: "command_dropped" in frozen.log() or "bus_connection_lost" in frozen.log())
        second = await api.submit("waits")
        third = await api.submit("waits")
        await running(api, name, second, third)
        fleet.let_end()
        assert [(await api.finished(each))["status"] for each in (name, second, third)] == ["completed"] * 3
        assert sorted(fleet.starts()) == sorted([name, second, third])
        assert "epoch_over" not in frozen.log(), "it had nothing that could be lost"


async def test_fault25_of_two_runners_on_a_copied_state_directory_one_stops_and_nothing_is_started_twice(fleet: Fleet) -> None:
    async with user_of(fleet.gateway) as api:
        first = fleet.runner(HUB_RUNNER_ID="one")
        first.start()
        name = await api.submit("waits")
        await running(api, name)
        copy = fleet.runner(HUB_RUNNER_ID="one", HUB_INSTANCE=first.instance)
        shutil.copytree(first.folder / "state", copy.folder / "state", ignore=shutil.ignore_patterns("*.pid", "*.lock"))
        copy.start()
        status = await asyncio.to_thread(first.wait, "runner")
        assert status == 1
        assert "a copy of this runner's state directory" in first.log()
        # The other has taken over what ran, and goes on alone.
        fleet.let_end()
        record = await api.finished(name)
        assert (record["status"], record["output"]) == ("completed", "began\nended\n")
        after = [await api.submit("waits") for _ in range(3)]
        assert [(await api.finished(each))["status"] for each in after] == ["completed"] * 3
        assert sorted(fleet.starts()) == sorted([name, *after])
        # A journal of its own under an id that is taken is a mistake in the settings.
        third = fleet.runner(HUB_RUNNER_ID="one")
        third.start()
        assert await asyncio.to_thread(third.wait, "runner") == 2
        assert "HUB_RUNNER_ID" in third.log()


async def test_fault24_a_runner_that_is_stopped_and_back_within_the_handover_loses_nothing(fleet: Fleet) -> None:
    async with user_of(fleet.gateway) as api:
        runner = fleet.runner(HUB_STOP_SECONDS="0")
        runner.start()
        name = await api.submit("waits")
        await running(api, name)
        await asyncio.to_thread(runner.stop)
        away_until = time.monotonic() + 2 * TTL_SECONDS

        async def is_still_running() -> bool:
            assert (await api.get(f"/executions/{name}"))["status"] == "running"
            return time.monotonic() > away_until

        await eventually(is_still_running, within_seconds=3 * TTL_SECONDS, every_seconds=0.5)
        runner.start()
        fleet.let_end()
        record = await api.finished(name)
        assert (record["status"], record["output"]) == ("completed", "began\nended\n")
        assert fleet.starts() == [name]


@pytest.mark.timeout(180)
async def test_fault4_an_outage_of_rabbitmq_for_longer_than_a_lease_takes_nobody_for_lost(
    make_hub: HubMaker, own_broker: OwnBroker
) -> None:
    fleet = Fleet(make_hub, own_broker.new_vhost_url())
    async with user_of(fleet.gateway) as api:
        runner = fleet.runner()
        runner.start()
        name = await api.submit("waits")
        await running(api, name)
        await asyncio.to_thread(own_broker.stop)
        await asyncio.sleep(2 * TTL_SECONDS)  # how long it lasts, not something to wait for
        await asyncio.to_thread(own_broker.start)
        after = await eventually(lambda: submitted(api), within_seconds=60, every_seconds=0.5)
        assert after is not None
        await running(api, name, after)
        fleet.let_end()
        assert [(await api.finished(each))["status"] for each in (name, after)] == ["completed"] * 2
        assert "runner_lost" not in fleet.gateway.log()
        assert "epoch_over" not in runner.log()


async def submitted(api: Api) -> str | None:
    """The id of an execution, where it was accepted."""
    try:
        status, _, body = await api.call("POST", "/execute", {"program_id": "waits"})
    except aiohttp.ClientError:
        return None
    return str(body["execution_id"]) if status == 202 else None
