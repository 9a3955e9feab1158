"""GET /, /programs and /health."""

from datetime import datetime, timedelta

from tests.support.gateway_fakes import Client, World


async def test_p1_the_root_tells_the_version_of_the_package(client: Client) -> None:
    body = await (await client.get("/")).json()

    assert body == {"message": "PyExecutorHub", "version": "2.0.0.test", "status": "running", "container": "docker"}


async def test_p3_p4_programs_have_ten_keys_and_disabled_ones_are_omitted(client: Client) -> None:
    programs = await (await client.get("/programs")).json()

    assert programs == [
        {
            "id": "example_script",
            "name": "example_script",
            "type": "script",
            "description": "An example",
            "enabled": True,
            "path": "scripts/example_script",
            "key": "example_script",
            "docker_image": None,
            "parameters": "--process 2",
            "path_docker_compose_run": None,
            "compose_profile": None,
        },
        {
            "id": "7",
            "name": "Billing",
            "type": "bot",
            "description": "",
            "enabled": True,
            "path": "bots/billing",
            "key": "billing",
            "docker_image": "billing:1",
            "parameters": None,
            "path_docker_compose_run": None,
            "compose_profile": None,
        },
    ]


async def test_p2_health_is_open_and_stamps_utc(stranger: Client) -> None:
    response = await stranger.get("/health")

    body = await response.json()
    assert response.status == 200
    assert set(body) == {"status", "timestamp", "live_runners"}
    assert body["status"] == "healthy"
    assert datetime.fromisoformat(body["timestamp"]).utcoffset() == timedelta(0)


async def test_health_says_which_compose_was_found(stranger: Client, world: World) -> None:
    world.health.found = {"compose": "docker compose 2.26.1"}

    assert (await (await stranger.get("/health")).json())["versions"] == {"compose": "docker compose 2.26.1"}


async def test_p16_m38_what_is_wrong_makes_health_degraded_and_still_200(stranger: Client, world: World) -> None:
    world.health.wrong = {"bus": "not connected"}
    world.catalogues.problem = "config.yaml, line 3: no"

    response = await stranger.get("/health")

    body = await response.json()
    assert (response.status, body["status"]) == (200, "degraded")
    assert body["problems"] == {"bus": "not connected", "config": "config.yaml, line 3: no"}


async def test_m38_readiness_is_503_while_nothing_can_be_accepted(stranger: Client, world: World) -> None:
    assert (await stranger.get("/health?ready=1")).status == 200
    world.health.can_accept = False
    world.health.wrong = {"bus": "not connected"}

    response = await stranger.get("/health?ready=1")

    assert (response.status, response.content_type) == (503, "application/problem+json")
    assert (await response.json())["problems"] == {"bus": "not connected"}
    assert (await stranger.get("/health")).status == 200
