"""What runs now, asked of the live runners of a real hub on either bus."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import HubMaker, user_of
from tests.support.api import Api
from tests.support.broker import Broker
from tests.support.docker import docker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]

DEFAULT_IMAGE = "pyexecutorhub-base"
IMAGE = f"localhost:5000/team/app-e2e-{os.getpid()}:1"
TALKS = """
import sys, time
for number in range(150):
    print("line", number, flush=True)
time.sleep(0.3)
print("a word on the side", file=sys.stderr, flush=True)
time.sleep(600)
"""
#: Seconds that runners have for their answer, and what a busy machine adds.
LIMIT_SECONDS, MARGIN_SECONDS = 5.0, 4.0


@pytest.fixture
def tagged_image() -> Iterator[str]:
    """The default image under a name with slashes and a port."""
    docker("tag", DEFAULT_IMAGE, IMAGE)
    yield IMAGE
    docker("rmi", "--no-prune", IMAGE)


@pytest.fixture
def foreign_container() -> Iterator[str]:
    """The short id of a running container of somebody else, of the same image."""
    container = docker("run", "--detach", "--entrypoint", "", DEFAULT_IMAGE, "sleep", "600")
    yield container[:12]
    docker("rm", "--force", container)


async def active(api: Api, number: int) -> list[dict[str, Any]]:
    """The active containers, once there are so many of them."""
    body = await eventually(
        lambda: api.get("/containers/active"), lambda body: body["total_containers"] == number, within_seconds=30
    )
    found: list[dict[str, Any]] = body["containers"]
    assert len(found) == number
    return found


async def end_all(hub: HubProcess, api: Api) -> None:
    """Kill what runs; its records are waited for."""
    docker("kill", *hub.containers("running"))

    async def concurrent() -> int:
        count: int = (await api.get("/executions/concurrent"))["concurrent_count"]
        return count

    await eventually(concurrent, lambda count: count == 0, within_seconds=30)


async def test_c1_c2_b9_a_running_program_is_listed_and_its_log_is_read_by_its_image(
    hub: HubProcess, api: Api, tagged_image: str, foreign_container: str
) -> None:
    # Given a program in an image whose name has slashes and a port, and one in the default image
    hub.write_program("talks", TALKS, docker_image=tagged_image)
    programs = await eventually(lambda: api.get("/programs"), lambda programs: "talks" in {one["id"] for one in programs})
    assert programs
    assert (await api.get("/containers/active"))["containers"] == []
    talking = await api.submit("talks")
    sleeping = await api.submit("sleeps", seconds=600)

    # Then both are listed with the image as config.yaml names it, and nobody else's
    found = {container["name"]: container for container in await active(api, 2)}
    assert found.keys() == {talking, sleeping}
    assert (found[talking]["image"], found[sleeping]["image"]) == (tagged_image, DEFAULT_IMAGE)
    for name, container in found.items():
        assert container.keys() == {"container_id", "image", "status", "name", "runner_id"}
        assert container["status"].startswith("Up")
        assert hub.inspect(name)["Id"].startswith(container["container_id"])
        assert container["container_id"] != foreign_container

    # and the last hundred lines of each stream of the one that talks
    def has_said_all(body: dict[str, Any]) -> bool:
        return [log["stderr"] != "" for log in body["containers"]] == [True]

    body = await eventually(lambda: api.get(f"/containers/logs/{tagged_image}"), has_said_all, within_seconds=20)
    (log,) = body["containers"]
    assert body["image_name"] == tagged_image
    assert body["message"] == f"Found 1 running containers for image: {tagged_image}"
    assert log["container_id"] == found[talking]["container_id"]
    assert log["stdout"].splitlines() == [f"line {number}" for number in range(51, 150)]
    assert (log["stderr"], log["logs_lines"], log["truncated"]) == ("a word on the side\n", 100, False)
    assert (body["missing_runners"], body["truncated"]) == ([], False)

    # and of the default image only the hub's own, with or without the tag
    for name in (DEFAULT_IMAGE, f"{DEFAULT_IMAGE}:latest"):
        body = await api.get(f"/containers/logs/{name}")
        assert [log["container_id"] for log in body["containers"]] == [found[sleeping]["container_id"]]
    body = await api.get("/containers/logs/team/app:1")
    assert (body["total_containers"], body["message"]) == (0, "No running containers found for image: team/app:1")

    # and nothing once they have ended
    await end_all(hub, api)
    assert await active(api, 0) == []


async def test_c1_c2_names_that_are_no_image_find_nothing(api: Api) -> None:
    for name in ("%ff", "%00", "a%20b", "%F0%9F%90%B3", "x" * 5000, "..%2f..%2fetc", "a@b@c:::"):
        body = await api.get(f"/containers/logs/{name}")
        assert body["total_containers"] == 0


async def test_c2_e11_a_frozen_runner_is_named_and_one_that_stopped_is_not_missed(make_hub: HubMaker, broker: Broker) -> None:
    # Given two runners on one Docker engine, both full
    url = broker.new_vhost_url()
    hub = make_hub(bus_url=url, parts=("gateway", "runner"), HUB_RUNNER_ID="first")
    second = make_hub(bus_url=url, parts=("runner",), HUB_RUNNER_ID="second", HUB_INSTANCE=hub.instance)
    async with user_of(hub) as api:
        second.start()
        try:
            concurrent = await eventually(
                lambda: api.get("/executions/concurrent"), lambda body: body["max_concurrent"] == 4, within_seconds=20
            )
            assert concurrent["concurrent_count"] == 0
            assert (await api.get("/health"))["live_runners"] == 2
            ids = {await api.submit("sleeps", seconds=600) for _ in range(4)}

            # Then each container is listed once, by the runner that has it
            found = await active(api, 4)
            assert {container["name"] for container in found} == ids
            assert sorted(container["runner_id"] for container in found) == ["first"] * 2 + ["second"] * 2

            # When one is frozen, it is named, and the answer comes within the limit
            second.send_signal("runner", signal.SIGSTOP)
            started = time.monotonic()
            body = await api.get("/containers/active")
            assert time.monotonic() - started < LIMIT_SECONDS + MARGIN_SECONDS
            assert body["missing_runners"] == ["second"]
            assert {container["runner_id"] for container in body["containers"]} == {"first"}
            logs = await api.get(f"/containers/logs/{DEFAULT_IMAGE}")
            assert (logs["missing_runners"], logs["total_containers"]) == (["second"], 2)

            # When it wakes, it answers again
            second.send_signal("runner", signal.SIGCONT)
            assert len(await active(api, 4)) == 4

            # When it stops, nobody misses it
            await asyncio.to_thread(second.stop)
            body = await api.get("/containers/active")
            assert (body["missing_runners"], body["total_containers"]) == ([], 2)
            assert (await api.get("/executions/concurrent"))["max_concurrent"] == 2

            # What it had let go of, it takes up when it is back
            await asyncio.to_thread(second.start)
            assert {container["name"] for container in await active(api, 4)} == ids
            await end_all(hub, api)
        finally:
            second.send_signal("runner", signal.SIGCONT)  # so that it can be stopped
