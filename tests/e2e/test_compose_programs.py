"""Compose programs as users of a hub see them."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import HubMaker, user_of
from tests.support.compose import Compose, compose_v2, left_of, nothing_left_of
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

__all__ = ["compose_v2"]

pytestmark = pytest.mark.docker

DEBIAN = "pyexecutorhub-debian:bookworm"
STACK = {
    "services": {
        "app": {
            "image": DEBIAN,
            "command": ["sh", "-c", "echo $$PROGRAM_ID $$NAME; sleep $$PAUSE; exit $$CODE"],
            "environment": {
                "PROGRAM_ID": "${PROGRAM_ID}",
                "NAME": "${PARAM_NAME:-nobody}",
                "CODE": "${PARAM_CODE:-0}",
                "PAUSE": "${PARAM_SECONDS:-0}",
            },
            "depends_on": ["database"],
            "volumes": ["data:/data"],
        },
        "database": {"image": DEBIAN, "command": "sleep 600", "restart": "always"},
    },
    "volumes": {"data": {}},
}


def with_stack(hub: HubProcess) -> HubProcess:
    hub.write_program("stack", json.dumps(STACK), file="docker-compose.yml", path_docker_compose_run="docker-compose.yml")
    hub.edit(lambda config: config["scripts"]["stack"].update(stop_grace_seconds=1))
    return hub


async def test_a_compose_program_runs_by_http_and_leaves_nothing_k1_k4_k5_k8_b17(
    make_hub: HubMaker, compose_v2: Compose
) -> None:
    hub = with_stack(make_hub(HUB_COMPOSE_COMMAND=str(compose_v2.path)))
    async with user_of(hub) as api:
        record = await api.run("stack", name="Ann")
        assert (record["status"], record["exit_code"]) == ("completed", 0)
        assert record["output"] == "app-1       | stack Ann\n"
        await nothing_left_of(record["execution_id"])

        record = await api.run("stack", code=5)
        assert (record["status"], record["exit_code"], record["reason"]) == ("failed", 5, "exit_code")
        assert record["error"] == "Service 'app' exited with code 5"
        health = await api.get("/health")
        assert health["versions"]["compose"].startswith("docker compose 2.")
    assert "docker compose -p hub-" in hub.log()


async def test_m10_k5_b17_after_kill_9_a_compose_program_runs_on_and_nothing_of_it_outlives_its_execution(
    make_hub: HubMaker, compose_v2: Compose
) -> None:
    hub = with_stack(make_hub(HUB_COMPOSE_COMMAND=str(compose_v2.path)))
    async with user_of(hub) as api:
        execution_id = await api.submit("stack", seconds=600)

        async def running() -> bool:
            return bool((await api.get(f"/executions/{execution_id}"))["status"] == "running")

        await eventually(running, within_seconds=60)
        hub.kill()
        left = left_of(execution_id)
        assert len(left) == 4
        hub.start()
        assert await running()
        assert left_of(execution_id) == left
        await api.call("POST", f"/executions/{execution_id}/cancel")
        assert (await api.finished(execution_id))["status"] == "cancelled"
        await nothing_left_of(execution_id)


async def test_without_compose_health_says_what_to_install_and_the_program_fails(make_hub: HubMaker, tmp_path: Path) -> None:
    hub = with_stack(make_hub(HUB_COMPOSE_COMMAND=str(tmp_path / "absent")))
    async with user_of(hub) as api:
        health = await api.get("/health")
        assert health["status"] == "degraded"
        assert "Programs that need it: stack" in health["problems"]["compose"]
        record = await api.run("stack")
        assert (record["status"], record["reason"], record["category"]) == ("failed", "compose_unavailable", "system")
        assert "HUB_COMPOSE_COMMAND" in record["error"]


async def test_a_runner_killed_while_compose_builds_takes_it_along_and_the_next_life_runs_it(
    make_hub: HubMaker, compose_v2: Compose
) -> None:
    hub = with_stack(make_hub(HUB_COMPOSE_COMMAND=str(compose_v2.path)))
    hub.write_program(
        "built",
        '{"services": {"app": {"build": "."}}}',
        file="docker-compose.yml",
        path_docker_compose_run="docker-compose.yml",
    )
    dockerfile = hub.folder / "scripts" / "built" / "Dockerfile"
    dockerfile.write_text(f'FROM {DEBIAN}\nRUN sleep 60\nCMD ["echo", "built"]\n')
    async with user_of(hub) as api:
        execution_id = await api.submit("built")

        async def processes() -> list[str]:
            return [
                entry.name
                for entry in Path("/proc").iterdir()
                if entry.name.isdigit() and f"hub-{execution_id}".encode() in command_line(entry)
            ]

        assert await eventually(processes, within_seconds=30)
        hub.kill()
        await eventually(processes, lambda seen: seen == [])

        dockerfile.write_text(f'FROM {DEBIAN}\nCMD ["echo", "built"]\n')
        hub.start()
        record = await api.finished(execution_id)
        assert (record["status"], record["output"]) == ("completed", "app-1  | built\n")
        await nothing_left_of(execution_id)


def command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # gone
        return b""
