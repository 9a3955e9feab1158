"""Compose files, and folders around them, that try to reach what is not theirs."""

from pathlib import Path
from typing import Any

import pytest

from schemas.programs import ComposeProfile
from schemas.reasons import Reason
from schemas.status import Status
from tests.integration.runner.compose_hub import DEBIAN, ComposeHub, compose_hub, compose_hub_v2, nothing_built_stays
from tests.support.compose import compose, compose_v2, left_of
from tests.support.docker import docker

__all__ = ["compose", "compose_hub", "compose_hub_v2", "compose_v2", "nothing_built_stays"]

SECRET = "the-secret-of-somebody-else"


def app(**more: Any) -> dict[str, Any]:
    """A file whose one service shows all it can see."""
    return {"services": {"app": {"image": DEBIAN, "command": "sh -c 'env; cat /data/* 2>&1; true'", **more}}}


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (app(volumes=["/var/run/docker.sock:/data/sock"]), "volumes: /var/run/docker.sock is not in the program's folder"),
        (app(volumes=["./link:/data"]), "leads out of the program's folder"),
        (app(volumes=["..:/data"]), "is not in the program's folder"),
        (app(volumes=["./in/../../..:/data"]), "is not in the program's folder"),
        (app(volumes=["${PARAM_PATH}:/data"]), "is not in the program's folder"),
        (app(env_file="link/secret"), "can't be opened"),
        (app(env_file="../outside/secret"), "is not in the folder"),
        (app(env_file="${PARAM_PATH}/secret"), "without variables"),
        (app(build={"context": "link"}), "leads out of the program's folder"),
        (app(build={"context": ".", "dockerfile": "link/secret"}), "leads out of the program's folder"),
        (app(extends={"file": "link/other.yml", "service": "app"}), "extends from another file"),
        ({"include": ["link/other.yml"], **app()}, "include"),
        ({**app(secrets=["s"]), "secrets": {"s": {"file": "./link/secret"}}}, "leads out of the program's folder"),
        ({**app(volumes=["vol:/data"]), "volumes": {"vol": {"driver_opts": {"o": "bind", "device": "/"}}}}, "driver_opts"),
    ],
)
async def test_a_restricted_file_reaches_nothing_outside_its_folder(
    compose_hub_v2: ComposeHub, tmp_path: Path, file: Any, words: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text(f"A={SECRET}\n")
    (outside / "other.yml").write_text(f"services: {{app: {{image: '{DEBIAN}', environment: {{A: {SECRET}}}}}}}")
    around = compose_hub_v2(file)
    (compose_hub_v2.program / "link").symlink_to(outside)
    (compose_hub_v2.program / "Dockerfile").write_text(f"FROM {DEBIAN}\n")
    async with around.runner():
        execution_id = await around.submit("example", path=str(outside))
        ended = await around.ended(execution_id, within_seconds=60)

    assert ended.status is Status.FAILED
    assert ended.reason in (Reason.COMPOSE_REFUSED, Reason.INVALID_PATH), ended.message
    assert words in (ended.message or "")
    assert SECRET not in ended.model_dump_json()
    assert left_of(execution_id) == []


async def test_what_steers_compose_in_an_env_file_of_the_program_steers_nothing(
    compose_hub: ComposeHub, tmp_path: Path
) -> None:
    around = compose_hub(app(environment={"A": "${DOCKER_HOST:-none} ${COMPOSE_PROJECT_NAME:-none} ${HOME:-none}"}))
    (compose_hub.program / ".env").write_text(
        f"DOCKER_HOST=tcp://127.0.0.1:9\nCOMPOSE_PROJECT_NAME=another\nCOMPOSE_FILE=/absent\nDOCKER_CONFIG={tmp_path}\nHOME=/absent\n"
    )
    async with around.runner():
        ended = await around.ended(await around.submit(), within_seconds=60)

    assert ended.status is Status.COMPLETED, ended.message
    assert "A=none" in (ended.stdout.content or "")
    assert "/absent" not in (ended.stdout.content or "")


async def test_a_trusted_file_may_ask_for_what_a_restricted_one_may_not(compose_hub: ComposeHub, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "seen").write_text("from outside\n")
    file = {
        "services": {
            "app": {
                "image": DEBIAN,
                "command": "cat /data/seen",
                "cap_add": ["SYS_PTRACE"],
                "sysctls": {"net.core.somaxconn": 512},
                "volumes": [f"{outside}:/data:ro"],
                "restart": "always",
            }
        }
    }
    around = compose_hub(file, compose_profile=ComposeProfile.TRUSTED)
    async with around.runner():
        execution_id = await around.submit()
        ended = await around.ended(execution_id, within_seconds=60)

    assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "app-1  | from outside\n"), ended.message
    assert left_of(execution_id) == []


async def test_the_paths_of_binds_are_those_of_the_engines_host_k3(compose_hub: ComposeHub, tmp_path: Path) -> None:
    """As where the runner is itself in a container: what it sees as its project's folder is elsewhere for the engine."""
    around = compose_hub(app(volumes=["./data:/data"]))
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "example" / "data").mkdir(parents=True)
    (elsewhere / "example" / "data" / "file").write_text("the host's\n")
    around.host_project_dir = elsewhere
    async with around.runner():
        ended = await around.ended(await around.submit(), within_seconds=60)

    assert (ended.stdout.content or "").endswith("app-1  | the host's\n"), ended.message


async def test_ports_are_published_on_loopback_alone(compose_hub: ComposeHub) -> None:
    file = app(ports=["80", "127.0.0.1::81/udp"])
    file["services"]["app"]["command"] = "sleep 60"
    around = compose_hub(file, stop_grace_seconds=1)
    async with around.runner(stop_limit_seconds=0):
        execution_id = await around.submit()
        running = await around.is_running(execution_id)
        ports = docker("port", running.container_id or "")
    assert sorted(line.split(" -> ")[0] for line in ports.splitlines()) == ["80/tcp", "81/udp"]
    assert all(" -> 127.0.0.1:" in line for line in ports.splitlines())


async def test_a_folder_that_becomes_a_link_before_a_service_starts_is_not_bound(
    compose_hub_v2: ComposeHub, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text(SECRET)
    script = f"sleep 1; rm -r /all/data; ln -s {outside} /all/data"
    first = {"image": DEBIAN, "command": ["sh", "-c", script], "volumes": [".:/all"]}
    second = app(volumes=["./data:/data"], depends_on={"first": {"condition": "service_completed_successfully"}})
    second = second["services"]["app"]
    around = compose_hub_v2({"services": {"first": first, "second": second}})
    (compose_hub_v2.program / "data").mkdir()
    async with around.runner():
        execution_id = await around.submit()
        ended = await around.ended(execution_id, within_seconds=60)

    # It was seen right after the first service's start, or before that of the second.
    assert (ended.status, ended.reason) in [(Status.FAILED, Reason.START_FAILED), (Status.FAILED, Reason.COMPOSE_REFUSED)]
    assert "leads out of the program's folder" in (ended.message or "")
    assert SECRET not in ended.model_dump_json()
    assert left_of(execution_id) == []
