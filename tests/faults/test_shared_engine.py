"""Several runners, and several hubs, on one Docker engine: each container has one owner, and nobody touches another's."""

import asyncio
import json
import random
from collections import Counter
from pathlib import Path

import aio_pika
import pytest

from bus import topology
from bus.messages import Message
from runner.identity import Identity
from schemas.ids import new_execution_id
from tests.e2e.conftest import HubMaker, user_of
from tests.integration.bus.amqp import channel_to
from tests.integration.bus.conftest import Buses, rabbits
from tests.support.broker import amqp_url
from tests.support.docker import docker
from tests.support.hub_process import HubProcess
from tests.support.runner_fixtures import make_hub as make_surroundings
from tests.support.wait import eventually

__all__ = ["amqp_url", "rabbits"]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

MANY, SOME = 1_000, 24
#: Deliveries of each command, as far as RabbitMQ is concerned: of as many messages with one id.
TIMES = 2
#: Leaves a line for its start, and where it ran.
COUNTS = """
import os, socket
with open("/workspace/starts", "a") as starts:
    starts.write(os.environ["EXECUTION_ID"] + " " + socket.gethostname() + "\\n")
"""


@pytest.mark.rabbitmq
async def test_fault25_of_a_thousand_commands_that_come_twice_two_runners_start_each_once(
    rabbits: Buses, tmp_path: Path
) -> None:
    hubs = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        hub = make_surroundings(tmp_path / str(number), max_concurrent_executions=20)
        hub.bus = await rabbits.open()  # type: ignore[assignment]
        hub.identity = Identity("test-instance", f"runner-{number}")
        hubs.append(hub)
    ids = [new_execution_id() for _ in range(MANY)]
    many = ids * TIMES
    random.Random(25).shuffle(many)
    body = json.dumps({"program_id": "example"}).encode()
    observer = await rabbits.open()

    async def seen() -> tuple[int, int]:
        return sum(len(hub.fake.starts) for hub in hubs), await observer.commands.waiting("default")

    async with hubs[0].runner(), hubs[1].runner():
        for first in range(0, len(many), 100):
            some = [Message(id=name, body=body) for name in many[first : first + 100]]
            await asyncio.gather(*(observer.commands.accept("default", message) for message in some))
        await eventually(seen, lambda now: now[0] >= MANY and now[1] == 0, within_seconds=100, every_seconds=0.2)
    starts = hubs[0].fake.starts + hubs[1].fake.starts
    assert dict(starts) == dict.fromkeys(ids, 1)
    assert all(hub.fake.starts for hub in hubs)


@pytest.mark.rabbitmq
async def test_fault25_bus1_two_runners_on_one_docker_engine_start_each_command_once_and_each_container_has_one_owner(
    make_hub: HubMaker, amqp_url: str, python_image: str
) -> None:
    gateway = make_hub(bus_url=amqp_url, parts=("gateway",))
    runners = [make_hub(bus_url=amqp_url, parts=("runner",), HUB_INSTANCE=gateway.instance) for _ in range(2)]
    for hub in (gateway, *runners):
        hub.write_program("once", COUNTS, docker_image=python_image)
    async with user_of(gateway) as api:
        for runner in runners:
            runner.start()

        async def live() -> int:
            return int((await api.get("/health"))["live_runners"])

        await eventually(live, lambda count: count == 2, within_seconds=30)
        ids = [new_execution_id() for _ in range(SOME)]
        many = ids * 3
        random.Random(26).shuffle(many)
        body = json.dumps({"program_id": "once"}).encode()
        async with channel_to(amqp_url) as channel:
            exchange = await channel.get_exchange(topology.COMMANDS, ensure=False)
            for name in many:
                await exchange.publish(aio_pika.Message(body, message_id=name), "execute.default")
        for name in ids:
            assert (await api.finished(name))["status"] == "completed"
        started = [_starts(runner, "once") for runner in runners]
        assert all(started)
        assert sorted(name for lines in started for name, _ in lines) == sorted(ids)
        hosts = Counter(host for lines in started for _, host in lines)
        assert set(hosts.values()) == {1}
    for runner in runners:
        runner.stop()
    assert gateway.containers() == []


async def test_fault26_a_hub_that_recovers_and_sweeps_touches_nothing_of_another_hub_on_the_same_engine(
    make_hub: HubMaker, python_image: str
) -> None:
    one, other = make_hub(HUB_SWEEP_SECONDS="1"), make_hub(HUB_SWEEP_SECONDS="1")
    for hub in (one, other):
        hub.write_program("lasts", "import time; print('begun', flush=True); time.sleep(600)", docker_image=python_image)
    async with user_of(one) as api:
        theirs = await api.submit("lasts")
        (container,) = await eventually(lambda: _running(one))
        # Its owner is gone when the other hub starts, recovers what was its own, and sweeps.
        one.kill()
        async with user_of(other) as others_api:
            ours = await others_api.submit("lasts")
            (other_container,) = await eventually(lambda: _running(other))
            other.kill()
            stray = _stray(other, other_container, python_image)
            other.start()

            async def strays() -> str:
                return docker("ps", "--all", "--quiet", f"--filter=id={stray}")

            # Swept: so the other hub has recovered, and looked at all that is there.
            await eventually(strays, lambda found: found == "", within_seconds=30)
            assert one.containers("running") == [container]
            assert other.containers("running") == [other_container]

            one.start()
            await others_api.log_in()
            status, _, _ = await others_api.call("POST", f"/executions/{ours}/cancel", {})
            assert status == 202
            assert (await others_api.finished(ours))["status"] == "cancelled"
        assert one.containers("running") == [container]
        await api.log_in()
        assert (await api.get(f"/executions/{theirs}"))["status"] == "running"
        await api.call("POST", f"/executions/{theirs}/cancel", {})
        record = await api.finished(theirs)
        assert (record["status"], record["output"].splitlines()[0]) == ("cancelled", "begun")


def _starts(runner: HubProcess, program: str) -> list[tuple[str, str]]:
    """(execution id, host name, which is its container's) of each start on a runner."""
    file = runner.folder / "scripts" / program / "starts"
    lines = file.read_text(encoding="ascii").splitlines() if file.exists() else []
    return [(name, host) for name, _, host in (line.partition(" ") for line in lines)]


async def _running(hub: HubProcess) -> list[str]:
    return hub.containers("running")


def _stray(hub: HubProcess, like: str, image: str) -> str:
    """Id of a container with the labels of that one's runner, for an execution that nobody claimed."""
    wanted = {"io.pyexecutorhub.execution-id": new_execution_id()}
    options = [f"--label={key}={value}" for key, value in ({**hub.inspect(like)["Config"]["Labels"], **wanted}).items()]
    return docker("create", *options, image, "sleep", "600")
