"""/containers: what the live runners said."""

from typing import Any

import pytest

from bus.errors import BusUnavailable
from gateway.errors import FleetBusy
from schemas.containers import Container, ContainerLog, Gathered
from tests.support.gateway_fakes import Client, World

IMAGE = "localhost:5000/team/app:1"


def log(container_id: str, stdout: str = "", stderr: str = "", *, truncated: bool = False) -> ContainerLog:
    return ContainerLog(container_id=container_id, stdout=stdout, stderr=stderr, truncated=truncated)


async def get(client: Client, path: str) -> Any:
    response = await client.get(path)
    assert response.status == 200, await response.text()
    return await response.json()


async def test_c2_b9_active_containers_are_listed_with_the_seeds_keys_and_the_runner(client: Client, world: World) -> None:
    one = Container(container_id="0123456789ab", image=IMAGE, status="Up 2 minutes", name="one")
    world.fleet.active = Gathered(found=[("a", one), ("b", one.model_copy(update={"name": "two"}))], asked=3, missing=["c"])

    shown = {"container_id": "0123456789ab", "image": IMAGE, "status": "Up 2 minutes"}
    assert await get(client, "/containers/active") == {
        "total_containers": 2,
        "containers": [shown | {"name": "one", "runner_id": "a"}, shown | {"name": "two", "runner_id": "b"}],
        "message": "Found 2 running containers",
        "missing_runners": ["c"],
        "truncated": False,
    }


@pytest.mark.parametrize("path_name", [IMAGE, "localhost:5000%2Fteam%2Fapp%3A1"])
async def test_c1_logs_have_the_seeds_keys_and_its_message(client: Client, world: World, path_name: str) -> None:
    logs = [log("1", "one\ntwo\n"), log("2", "unfinished", "\n\n", truncated=True), log("3")]
    world.fleet.logs = Gathered(found=[("a", one) for one in logs], asked=1)

    answer = await get(client, f"/containers/logs/{path_name}")

    assert world.fleet.images == [IMAGE]
    assert answer == {
        "image_name": IMAGE,
        "total_containers": 3,
        "containers": [
            {"container_id": "1", "stdout": "one\ntwo\n", "stderr": "", "logs_lines": 2, "truncated": False, "runner_id": "a"},
            {
                "container_id": "2",
                "stdout": "unfinished",
                "stderr": "\n\n",
                "logs_lines": 3,
                "truncated": True,
                "runner_id": "a",
            },
            {"container_id": "3", "stdout": "", "stderr": "", "logs_lines": 0, "truncated": False, "runner_id": "a"},
        ],
        "message": f"Found 3 running containers for image: {IMAGE}",
        "missing_runners": [],
        "truncated": False,
    }


async def test_c1_c2_none_found_is_said_with_the_seeds_message(client: Client, world: World) -> None:
    world.fleet.active = Gathered(found=(), asked=1)
    world.fleet.logs = Gathered(found=(), asked=1, missing=["a"])

    active = await get(client, "/containers/active")
    logs = await get(client, "/containers/logs/app")

    assert (active["total_containers"], active["containers"]) == (0, [])
    assert active["message"] == "No running containers found"
    assert (logs["total_containers"], logs["containers"], logs["missing_runners"]) == (0, [], ["a"])
    assert logs["message"] == "No running containers found for image: app"


async def test_c1_c2_that_no_runner_is_live_is_said(client: Client) -> None:
    assert (await get(client, "/containers/active"))["message"] == "No running containers found (no runner is live)"
    logs = await get(client, "/containers/logs/app")
    assert logs["message"] == "No running containers found for image: app (no runner is live)"


@pytest.mark.parametrize("path", ["/containers/active", "/containers/logs/app"])
async def test_who_can_not_be_answered_now_may_try_again(client: Client, world: World, path: str) -> None:
    for error, status in ((BusUnavailable("away"), 503), (FleetBusy("too many"), 429)):
        world.fleet.error = error
        response = await client.get(path)
        assert (response.status, response.content_type) == (status, "application/problem+json")
        assert int(response.headers["Retry-After"]) >= 1


async def test_health_tells_how_many_runners_live(client: Client, world: World) -> None:
    world.fleet.limits = {"one": 1, "two": 1}
    assert (await get(client, "/health"))["live_runners"] == 2
