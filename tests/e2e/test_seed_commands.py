"""Every curl of the seed's README, typed anew: with a token, and all on one port. Run in a shell against a live hub."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import started
from tests.e2e.programs import SLEEPS
from tests.support.docker import IMAGE as PYTHON_IMAGE
from tests.support.docker import docker, python_image
from tests.support.hub_process import ROOT, HubProcess
from tests.support.shell import Shell

__all__ = ["python_image"]

pytestmark = pytest.mark.docker

Json = Any
#: As the README shows them.
USERNAME, PASSWORD = "abc123def", "xY9#mK2$pL8"
RECORD = {"execution_id", "program_id", "status", "start_time", "end_time", "output", "error"}
LOGS = RECORD | {"duration_seconds", "output_lines", "error_lines"}
PROGRAM = {
    "id",
    "name",
    "type",
    "description",
    "enabled",
    "path",
    "key",
    "docker_image",
    "parameters",
    "path_docker_compose_run",
}
IMAGE = {"repository", "tag", "image_id", "size", "created_at", "full_name", "source"}
STATUSES = ["completed", "failed", "timeout", "running", "queued", "cancelled"]
#: The image of the README's example of monitoring; made here from the one of the tests, as no registry may be reachable.
MONITORED = "python:3.11-slim"


def keys(wanted: set[str]) -> Callable[[Json], bool]:
    return lambda answer: wanted <= answer.keys()


def is_token(answer: Json) -> bool:
    return set(answer) == {"access_token", "token_type", "expires_in", "username"} and answer["expires_in"] == 86400


def is_accepted(answer: Json) -> bool:
    return (
        set(answer) >= {"execution_id", "program_id", "status", "message", "timestamp"}
        and answer["status"] == "queued"
        and answer["message"] == f"Program '{answer['program_id']}' queued for execution"
    )


def are_programs(answer: Json) -> bool:
    return all(set(program) >= PROGRAM for program in answer) and {"example_script", "test_script"} <= {
        program["id"] for program in answer
    }


def are_statistics(answer: Json) -> bool:
    lists = answer["by_status"]
    sums = sum(row["total"] for rows in lists.values() for row in rows)
    return list(lists) == STATUSES and answer["total"] == sums and sums > 0


def is_concurrent(answer: Json) -> bool:
    running = answer["running_executions"]
    return (
        answer["concurrent_count"] == len(running)
        and answer["max_concurrent"] == 5
        and all(set(row) >= {"execution_id", "program_id", "start_time", "duration_seconds"} for row in running)
        and "monitored" in {row["program_id"] for row in running}
    )


def is_container_log(answer: Json) -> bool:
    (container,) = answer["containers"]
    return (
        set(answer) >= {"image_name", "containers", "total_containers", "message"}
        and answer["message"] == f"Found 1 running containers for image: {MONITORED}"
        and set(container) >= {"container_id", "stdout", "stderr", "logs_lines"}
        and (container["stdout"], container["logs_lines"]) == ("it runs\n", 1)
    )


def are_containers(answer: Json) -> bool:
    (monitored,) = (container for container in answer["containers"] if container["image"] == MONITORED)
    return (
        answer["total_containers"] == len(answer["containers"])
        and set(monitored) >= {"container_id", "image", "status", "name"}
        and monitored["status"].startswith("Up ")
    )


def are_images(answer: Json) -> bool:
    last = answer["images"][-1]
    return (
        answer["total_images"] == len(answer["images"]) == 3
        and all(set(image) >= IMAGE for image in answer["images"])
        and (last["full_name"], last["source"]) == ("pyexecutorhub-base", "default")
    )


def are_found_images(answer: Json) -> bool:
    (image,) = answer["images"]
    return (answer["search_term"], image["full_name"], image["script_id"]) == (
        "test-script",
        "test-script:latest",
        "in_its_image",
    )


#: What is typed → whether the answer is as the README shows it.
COMMANDS: list[tuple[str, Callable[[Json], bool]]] = [
    # Getting started
    (
        """curl -X POST http://localhost:8001/auth/login \\
  -H "Content-Type: application/json" \\
  -d '{"username": "abc123def", "password": "xY9#mK2$pL8"}'""",
        is_token,
    ),
    ('curl -H "Authorization: Bearer YOUR_TOKEN" http://localhost:8001/programs', are_programs),
    (
        """curl -X POST http://localhost:8001/execute \\
  -H "Authorization: Bearer YOUR_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{"program_id": "example_script"}'""",
        is_accepted,
    ),
    # Usage
    (
        """curl -X POST http://localhost:8001/auth/login \\
  -H "Content-Type: application/json" \\
  -d '{"username": "YOUR_USERNAME", "password": "YOUR_PASSWORD"}'""",
        is_token,
    ),
    ('curl -H "Authorization: Bearer YOUR_TOKEN" http://localhost:8001/executions/{execution_id}', keys(RECORD)),
    ('curl -H "Authorization: Bearer YOUR_TOKEN" http://localhost:8001/executions/stats', are_statistics),
    # Complete example
    (
        """TOKEN=$(curl -s -X POST http://localhost:8001/auth/login \\
  -H "Content-Type: application/json" \\
  -d '{"username": "abc123def", "password": "xY9#mK2$pL8"}' | jq -r '.access_token')
curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/programs > /dev/null
curl -X POST http://localhost:8001/execute \\
  -H "Authorization: Bearer $TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{"program_id": "example_script"}' > /dev/null
curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/executions/{execution_id}""",
        keys(RECORD),
    ),
    # Test script
    (
        """curl -X POST http://localhost:8001/execute \\
  -H "Authorization: Bearer $TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{"program_id": "test_script"}'""",
        is_accepted,
    ),
    # Container monitoring
    ('curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/containers/logs/python:3.11-slim', is_container_log),
    ('curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/containers/active', are_containers),
    ('curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/executions/concurrent', is_concurrent),
    ('curl -H "Authorization: Bearer YOUR_TOKEN" http://localhost:8001/executions/{execution_id}/logs', keys(LOGS)),
    # Images
    ('curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/images/available', are_images),
    ('curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/images/search/test-script', are_found_images),
    # Logs, cron, debugging
    ('curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/executions/{execution_id}', keys(RECORD)),
    (
        """PROGRAM_ID=6
curl -X POST http://localhost:8001/execute \\
  -H "Authorization: Bearer $TOKEN" \\
  -H "Content-Type: application/json" \\
  -d "{\\"program_id\\": \\"$PROGRAM_ID\\"}" \\
  -s""",
        is_accepted,
    ),
    (
        'curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/executions',
        lambda answer: all(set(record) >= RECORD for record in answer) and len(answer) > 1,
    ),
    # Troubleshooting
    ("curl http://localhost:8001/health", lambda answer: answer["status"] == "healthy" and "timestamp" in answer),
    (
        """curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/programs | jq '.[] | {id, name, parameters}' \\
  | jq -s .""",
        lambda answer: [set(row) for row in answer] == [{"id", "name", "parameters"}] * len(answer) and len(answer) == 5,
    ),
    # Endpoints that are listed without an example
    ('curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/', keys({"message", "version", "status"})),
    (
        'curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/executions/info',
        keys({"total_executions", "max_executions", "available_slots", "storage_type", "cleanup_enabled"}),
    ),
    (
        'curl -X DELETE -H "Authorization: Bearer $TOKEN" http://localhost:8001/executions/cleanup',
        lambda answer: (
            set(answer) >= {"message", "removed_executions", "remaining_executions", "max_executions"}
            and answer["message"] == "Manual cleanup completed"
        ),
    ),
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, python_image: str) -> Iterator[HubProcess]:
    folder = tmp_path_factory.mktemp("hub")
    hub = HubProcess(folder, HUB_USERNAME=USERNAME, HUB_PASSWORD=PASSWORD)
    hub.write_program("monitored", "print('it runs', flush=True)\n" + SLEEPS, docker_image=MONITORED)
    hub.write_program("numbered", "print('six')", id=6)
    for name in ("test_script", "example_script"):
        shutil.copytree(ROOT / "scripts" / name, folder / "scripts" / name)
        hub.edit(lambda config, name=name: config["scripts"].update({name: {"path": f"scripts/{name}"}}))
    hub.edit(
        lambda config: config["scripts"].update(
            in_its_image={"path": "scripts/test_script", "docker_image": "test-script:latest"}
        )
    )
    made = not docker("images", "--quiet", MONITORED)
    if made:
        docker("tag", PYTHON_IMAGE, MONITORED)
    try:
        yield from started(hub)
    finally:
        if made:
            docker("rmi", MONITORED)


@pytest.fixture(scope="module")
def shell(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell of somebody who has logged in, and one of whose executions goes on."""
    shell = Shell(hub, tmp_path_factory.mktemp("home"))
    shell.placeholders |= {"YOUR_USERNAME": USERNAME, "YOUR_PASSWORD": PASSWORD}
    token = json.loads(shell.run(COMMANDS[0][0]))["access_token"]
    shell.placeholders["YOUR_TOKEN"] = shell.variables["TOKEN"] = token
    body = json.dumps({"program_id": "monitored", "parameters": {"seconds": 600}})
    authorized = 'curl -H "Authorization: Bearer $TOKEN" http://localhost:8001'
    started = json.loads(shell.run(f"{authorized}/execute -H 'Content-Type: application/json' -d '{body}'"))
    shell.placeholders["{execution_id}"] = started["execution_id"]
    deadline = time.monotonic() + 60
    while json.loads(shell.run(f"{authorized}/executions/{{execution_id}}"))["status"] != "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return shell


@pytest.mark.parametrize(("typed", "is_right"), COMMANDS, ids=[typed.splitlines()[0][-60:] for typed, _ in COMMANDS])
def test_o9_every_curl_of_the_seeds_readme_answers_as_it_says(
    shell: Shell, typed: str, is_right: Callable[[Json], bool]
) -> None:
    answer = json.loads(shell.run(typed))
    assert is_right(answer), answer
