"""The fleet of docker-compose.yml does what the seed's README says of it, with the commands as typed there."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import yaml

from tests.full.conftest import IMAGES, Fleet, readme_block
from tests.full.documents import run, write_program
from tests.full.users import credentials, user_of
from tests.support.api import Api
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(1200)]


@pytest.fixture
async def api(fleet: Fleet) -> AsyncIterator[Api]:
    async with user_of(fleet, credentials(fleet)) as api:
        yield api


async def test_o1_o3_b11_b12_one_command_builds_all_and_a_program_runs_on_either_runner(fleet: Fleet) -> None:
    async with user_of(fleet, credentials(fleet)) as api:
        records = await asyncio.gather(*(api.run("test_script") for _ in range(20)))

    assert {record["status"] for record in records} == {"completed"}
    assert "🐳 Running inside Docker container" in records[0]["output"]
    assert len({record["runner_id"] for record in records}) == 2
    assert fleet.type(f"docker port {fleet.api_container}").strip() == f"8001/tcp -> 127.0.0.1:{fleet.port}"


async def test_r20_the_seeds_commands_on_logs_work_as_typed(fleet: Fleet, api: Api) -> None:
    await api.run("example_bot")
    shown = fleet.type('docker compose logs pyexecutorhub-api | grep "Program parameters"')
    assert "--mode production --verbose" in shown
    assert "Program parameters" in fleet.type(f"docker logs {fleet.api_container} 2>&1")
    commands = fleet.type('docker compose logs runner runner-2 | grep "Docker command"')
    assert "run.py --mode production --verbose" in commands


def test_o1_the_seeds_commands_that_build_work_as_typed(fleet: Fleet) -> None:
    for command in (
        "docker compose build pyexecutorhub-base",
        "docker compose build pyexecutorhub-api",
        "docker compose build",
        "docker compose up -d --build",
    ):
        fleet.type(command)
    fleet.await_health()


async def test_p15_o1_an_edit_of_config_yaml_is_live_in_the_fleet(fleet: Fleet, api: Api) -> None:
    path = fleet.folder / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["scripts"]["later"] = {"path": "scripts/example_script", "name": "Added later"}
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump(config), encoding="utf-8")
    fresh.replace(path)

    async def names() -> set[str]:
        return {program["id"] for program in await api.get("/programs")}

    await eventually(names, lambda seen: "later" in seen)
    assert (await api.run("later"))["status"] == "completed"


async def test_k2_b17_a_compose_program_binds_its_own_folder_from_a_runner_in_a_container(fleet: Fleet, api: Api) -> None:
    folder = write_program(fleet, "composed", "print('composed')\n", path_docker_compose_run="docker-compose.yml")
    (folder / "docker-compose.yml").write_text(
        f"services:\n  app:\n    image: {IMAGES['HUB_BASE_IMAGE']}\n    command: [python, /app/main.py, '${{PROGRAM_ID}}']\n"
        "    volumes: ['.:/app']\n",
        encoding="utf-8",
    )
    assert "composed" in (await run(api, "composed"))["output"]


async def test_r4_requirements_are_installed_in_the_fleet_too(fleet: Fleet, api: Api) -> None:
    folder = write_program(fleet, "needy", "import iniconfig; print(iniconfig.__name__)\n")
    (folder / "requirements.txt").write_text("iniconfig\n", encoding="utf-8")
    assert (await run(api, "needy"))["output"] == "iniconfig\n"


def test_only_runners_have_the_docker_socket_and_only_they_are_root(fleet: Fleet) -> None:
    containers: list[dict[str, Any]] = json.loads(fleet.type("docker inspect " + " ".join(fleet.labelled("container"))))
    found = {container["Config"]["Labels"]["com.docker.compose.service"]: container for container in containers}

    assert set(found) == {"rabbitmq", "pyexecutorhub-api", "runner", "runner-2", "pyexecutorhub-base"}
    with_socket = {
        name for name, container in found.items() if any("docker.sock" in mount["Destination"] for mount in container["Mounts"])
    }
    assert with_socket == {"runner", "runner-2"}
    assert found["pyexecutorhub-api"]["Config"]["User"] == "hub"
    assert found["rabbitmq"]["Config"]["User"] == "rabbitmq"
    assert found["pyexecutorhub-base"]["State"]["ExitCode"] == 0
    for name in ("pyexecutorhub-api", "runner", "runner-2", "rabbitmq"):
        host = found[name]["HostConfig"]
        assert host["CapDrop"] == ["ALL"], name
        assert host["RestartPolicy"]["Name"] == "unless-stopped", name
        assert host["Memory"] > 0, name
        # No password stands where everybody who may ask Docker can read it.
        assert "amqp://" not in json.dumps(found[name]["Config"]), name


async def test_a_client_may_ask_for_executions_and_hear_of_them_and_nothing_else(fleet: Fleet) -> None:
    users = fleet.type("docker compose exec -T rabbitmq rabbitmqctl -q list_users --no-table-headers")
    assert {line.split()[0] for line in users.splitlines()} == {"gateway", "runner", "client"}
    inside = fleet.type("docker compose exec -T rabbitmq cat /bus/client/url").strip()
    port = fleet.type("docker compose port rabbitmq 5672").strip().rpartition(":")[2]
    url = inside.replace("@rabbitmq:5672", f"@127.0.0.1:{port}")

    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("hub.executions", "execution.completed.test_script")
        commands = await channel.get_exchange("hub.commands", ensure=False)
        await commands.publish(
            aio_pika.Message(b'{"program_id": "test_script"}', message_id="01234567-89ab-7def-8123-456789abcdef"),
            routing_key="execute.default",
        )
        heard = await eventually(lambda: queue.get(fail=False), within_seconds=60)
        assert heard is not None
        assert json.loads(heard.body)["subject"] == "01234567-89ab-7def-8123-456789abcdef"
    for forbidden in ("hub.reports", "hub.executions"):
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange(forbidden, ensure=False)
            with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
                await exchange.publish(aio_pika.Message(b"{}"), routing_key="execution.completed.test_script")
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
            await channel.default_exchange.publish(aio_pika.Message(b"{}"), routing_key="hub.work.default")


async def test_a1_o1_what_the_fleet_remembers_survives_a_restart_of_all_of_it(fleet: Fleet) -> None:
    shown = credentials(fleet)
    async with user_of(fleet, shown) as api:
        before = await api.run("test_script")
    fleet.type("docker compose restart")
    fleet.await_health()
    async with user_of(fleet, shown) as api:
        assert (await api.get(f"/executions/{before['execution_id']}"))["output"] == before["output"]
        assert (await api.run("test_script"))["status"] == "completed"
    assert len(fleet.type('docker compose logs pyexecutorhub-api | grep "CREDENCIALES DE USO"').splitlines()) == 1


async def test_p18_o1_folders_outside_the_project_are_mounted_into_the_runners_as_the_readme_shows(
    fleet: Fleet, tmp_path: Path
) -> None:
    outside = tmp_path / "greeter"
    outside.mkdir()
    (outside / "main.py").write_text("print('from outside')\n", encoding="utf-8")
    override = "\n".join(readme_block("services:")).replace("/docker/scripts", str(tmp_path))
    (fleet.folder / "docker-compose.override.yml").write_text(override, encoding="utf-8")
    path = fleet.folder / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["scripts"]["external"] = {"path": str(outside)}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")

    fleet.type("docker compose up -d")
    fleet.await_health()

    async with user_of(fleet, credentials(fleet)) as api:
        assert (await api.run("external"))["output"] == "from outside\n"
