"""Compose programs on the real Docker engine, with both versions of Compose, from the command to the terminal event."""

import asyncio
from typing import Any

import pytest

from runner import labels
from schemas.reasons import Category, Reason
from schemas.status import Status
from tests.integration.runner.compose_hub import DEBIAN, ComposeHub, compose_hub, nothing_built_stays
from tests.integration.runner.conftest import killed_for_want_of_memory
from tests.support.compose import compose, left_of
from tests.support.docker import docker
from tests.support.wait import eventually

__all__ = ["compose", "compose_hub", "nothing_built_stays"]

#: As the seed's README shows it.
SEED = """\
version: '3.8'
services:
  app:
    build: .
    environment:
      - PROGRAM_ID=${PROGRAM_ID}
      - EXECUTION_ID=${EXECUTION_ID}
    volumes:
      - ./app:/app
"""


def shell(script: str, **more: Any) -> dict[str, Any]:
    """A service that runs a script."""
    return {"image": DEBIAN, "command": ["sh", "-c", script.replace("$", "$$")], **more}


async def test_the_seeds_example_builds_and_runs_unchanged_k1_k3_k4_k5_k8_b17(compose_hub: ComposeHub) -> None:
    around = compose_hub(SEED, main_file="absent.py", docker_image="absent:never", parameters="--not passed")
    (compose_hub.program / "app").mkdir()
    (compose_hub.program / "app" / "main.sh").write_text('echo "$PROGRAM_ID $EXECUTION_ID"; echo wrong >&2; printf "no end"')
    (compose_hub.program / "Dockerfile").write_text(f'FROM {DEBIAN}\nCMD ["sh", "/app/main.sh"]\n')
    async with around.runner():
        execution_id = await around.submit()
        ended = await around.ended(execution_id, within_seconds=90)
        running = await around.is_running(execution_id)

    assert (ended.status, ended.exit_code, ended.message) == (Status.COMPLETED, 0, None)
    assert ended.stdout.content == f"app-1  | example {execution_id}\napp-1  | no end\n"
    assert ended.stderr.content == "app-1  | wrong\n"
    assert "[hub] configured parameters are not passed to a Compose program" in (ended.lines_before or "")
    assert running.image == "docker-compose.yml"
    assert left_of(execution_id) == []


async def test_only_the_hubs_variables_and_those_of_env_can_be_interpolated_k4(
    compose_hub: ComposeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_BUS_URL", "amqp://user:secret@host/")
    script = "echo $A,$B,$C,$D,$E,$F"
    said = {"A": "${PARAM_MY_KEY}", "B": "${HUB_BUS_URL:-nothing}", "C": "${PATH:-nothing}", "D": "${FROM_ENV}", "E": "a$$b"}
    around = compose_hub({"services": {"app": shell(script, environment=said, env_file="more.env")}})
    (compose_hub.program / ".env").write_text("FROM_ENV='from .env'\nDOCKER_HOST=tcp://elsewhere\nPROGRAM_ID=another\n")
    (compose_hub.program / "more.env").write_text("F=from env_file\n")
    async with around.runner():
        ended = await around.ended(await around.submit("example", **{"my-key": "a value; $HOME"}), within_seconds=60)

    assert ended.stdout.content == "app-1  | a value; $HOME,nothing,nothing,from .env,a$b,from env_file\n"


async def test_the_file_is_found_in_a_subfolder_and_absolutely_and_runs_in_its_own_folder_k2_k3(
    compose_hub: ComposeHub,
) -> None:
    service = shell("cat /data/here; ls /data", volumes=["./data:/data:ro"])
    around = compose_hub({"services": {"app": service}}, name="deploy/stack.yml")
    (compose_hub.program / "deploy" / "data").mkdir()
    (compose_hub.program / "deploy" / "data" / "here").write_text("beside the file\n")
    async with around.runner():
        ended = await around.ended(await around.submit(), within_seconds=60)
        assert ended.stdout.content == "app-1  | beside the file\napp-1  | here\n"

    file = compose_hub.program / "deploy" / "stack.yml"
    around = compose_hub(file.read_text(), name=str(file), path="elsewhere")
    async with around.runner():
        ended = await around.ended(await around.submit(), within_seconds=60)
        assert ended.stdout.content == "app-1  | beside the file\napp-1  | here\n"


async def test_a_failing_service_fails_the_execution_with_its_own_exit_code_and_stops_the_rest_k10_t7(
    compose_hub: ComposeHub,
) -> None:
    around = compose_hub({"services": {"bad": shell("sleep 1; exit 7"), "web": shell("trap 'exit 0' TERM; sleep 60 & wait")}})
    async with around.runner():
        execution_id = await around.submit()
        ended = await around.ended(execution_id, within_seconds=60)

    assert (ended.status, ended.reason, ended.exit_code) == (Status.FAILED, Reason.EXIT_CODE, 7)
    assert ended.message == "Service 'bad' exited with code 7"
    assert ended.started_at and (ended.ended_at - ended.started_at).total_seconds() < 20
    assert left_of(execution_id) == []


async def test_it_ends_when_the_services_that_no_other_needs_have_ended_and_starts_each_when_what_it_needs_is_ready_k1(
    compose_hub: ComposeHub,
) -> None:
    healthy = {"database": {"condition": "service_healthy"}}
    file = {
        "services": {
            "app": shell(
                "cat /shared/ready; getent hosts database >/dev/null && echo found it",
                depends_on=healthy | {"migration": {"condition": "service_completed_successfully"}},
                volumes=["shared:/shared"],
            ),
            "migration": shell("echo migrated >> /shared/ready", depends_on=healthy, volumes=["shared:/shared"]),
            "database": shell(
                "trap 'echo stopped; exit 0' TERM; sleep 1; echo up >> /shared/ready; echo here; sleep 60 & wait",
                container_name="my-database",
                restart="always",
                healthcheck={"test": ["CMD", "test", "-e", "/shared/ready"], "interval": "1s", "retries": 20},
                volumes=["shared:/shared"],
            ),
        },
        "volumes": {"shared": {}},
    }
    around = compose_hub(file)
    async with around.runner():
        execution_id = await around.submit()
        ended = await around.ended(execution_id, within_seconds=90)

    assert (ended.status, ended.exit_code) == (Status.COMPLETED, 0)
    lines = (ended.stdout.content or "").splitlines()
    assert [line for line in lines if line.startswith("app-1")] == [
        "app-1        | up",
        "app-1        | migrated",
        "app-1        | found it",
    ]
    assert "database-1   | here" in lines
    assert "database-1   | stopped" in lines
    assert "its restart policy is left out" in (ended.lines_before or "")
    assert left_of(execution_id) == []


async def test_an_unhealthy_dependency_ends_it_with_the_reason(compose_hub: ComposeHub) -> None:
    file = {
        "services": {
            "app": shell("echo never", depends_on={"database": {"condition": "service_healthy"}}),
            "database": shell("sleep 60", healthcheck={"test": ["CMD", "false"], "interval": "1s", "retries": 1}),
        }
    }
    around = compose_hub(file, stop_grace_seconds=1)
    async with around.runner():
        execution_id = await around.submit()
        ended = await around.ended(execution_id, within_seconds=60)

    assert (ended.status, ended.reason) == (Status.FAILED, Reason.START_FAILED)
    assert ended.message == "Service 'database' did not become healthy, so service 'app' was not started"
    assert left_of(execution_id) == []


async def test_at_the_time_limit_all_of_it_is_stopped_and_removed_k5_k6_b17(compose_hub: ComposeHub) -> None:
    file = {
        "services": {
            "app": shell("echo begun; trap '' TERM; sleep 60; sleep 60", volumes=["data:/data"], depends_on=["other"]),
            "other": shell("sleep 60"),
        },
        "volumes": {"data": None},
    }
    around = compose_hub(file, timeout_seconds=2, stop_grace_seconds=1)
    async with around.runner():
        execution_id = await around.submit()
        ended = await around.ended(execution_id, within_seconds=60)

    assert (ended.status, ended.reason, ended.message) == (Status.TIMEOUT, Reason.TIMEOUT, "Execution exceeded time limit")
    assert ended.stdout.content == "app-1    | begun\n"
    assert left_of(execution_id) == []


async def test_compose_programs_take_slots_and_two_runs_of_one_file_never_meet_k7_k10(compose_hub: ComposeHub) -> None:
    service = shell("echo $EXECUTION_ID >> /data/who; sleep 1; cat /data/who", volumes=["data:/data"])
    service |= {"environment": ["EXECUTION_ID=${EXECUTION_ID}"], "container_name": "one-name"}
    around = compose_hub({"services": {"app": service}, "volumes": {"data": {}}}, settings={"max_concurrent_executions": 2})
    async with around.runner() as runner:
        ids = [await around.submit() for _ in range(3)]
        most = 0
        while len([event for each in ids for event in around.events(each) if event.status is Status.COMPLETED]) < 3:
            most = max(most, runner.running)
            await asyncio.sleep(0.02)
        ends = [await around.ended(each) for each in ids]

    assert most == 2
    assert [ended.stdout.content for ended in ends] == [f"app-1  | {each}\n" for each in ids]
    first, second = ends[:2]
    assert first.started_at and second.started_at
    overlap = min(first.ended_at, second.ended_at) - max(first.started_at, second.started_at)
    assert overlap.total_seconds() > 0


async def test_every_byte_of_many_lines_arrives_under_its_services_name_k8(compose_hub: ComposeHub) -> None:
    writer = "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; printf '\\377\\376\\n'"
    around = compose_hub({"services": {"a": shell(writer), "bb": shell(writer.replace("echo $i", "echo $i >&2"))}})
    async with around.runner():
        ended = await around.ended(await around.submit(), within_seconds=60)

    numbers = b"".join(b"a-1   | %d\n" % number for number in range(2000))
    out = (ended.stdout.content_bytes() or b"").splitlines(keepends=True)
    assert b"".join(line for line in out if line.startswith(b"a-1   | ")) == numbers + b"a-1   | \xff\xfe\n"
    assert b"".join(line for line in out if line.startswith(b"bb-1  | ")) == b"bb-1  | \xff\xfe\n"
    assert ended.stderr.content_bytes() == numbers.replace(b"a-1   | ", b"bb-1  | ")


async def test_a_service_that_runs_out_of_memory_is_named_k10(compose_hub: ComposeHub) -> None:
    hungry = "x=x; while true; do x=$x$x$x$x; done"
    around = compose_hub({"services": {"app": shell(hungry, mem_limit="32m")}}, memory_limit=64 * 1024**2)
    async with around.runner():
        ended = await killed_for_want_of_memory(lambda: around.run(within_seconds=60))

    assert (ended.status, ended.reason, ended.exit_code) == (Status.FAILED, Reason.OUT_OF_MEMORY, 137)
    assert ended.message == "Service 'app' ran out of memory: its limit is 32m (memory_limit)"


async def test_what_can_not_be_run_says_why_and_leaves_nothing_k5_k9(compose_hub: ComposeHub) -> None:
    cases: list[tuple[Any, Reason, str]] = [
        ({"services": {"app": {"image": "absent-image:never"}}}, Reason.IMAGE_NOT_FOUND, "Docker image 'absent-image:never'"),
        ({"services": {"app": {"image": DEBIAN, "privileged": True}}}, Reason.COMPOSE_REFUSED, "service 'app': privileged"),
        ({"services": {"app": {"image": DEBIAN, "command": ["/absent"]}}}, Reason.START_FAILED, "/absent"),
        ({"services": {"app": {"build": "."}}}, Reason.IMAGE_BUILD_FAILED, "docker compose build failed"),
        ({"services": {"app": {"imagee": DEBIAN}}}, Reason.COMPOSE_REFUSED, "imagee"),
        ("services: [", Reason.COMPOSE_REFUSED, "line 1"),
    ]
    for file, reason, words in cases:
        around = compose_hub(file)
        (compose_hub.program / "Dockerfile").write_text(f"FROM {DEBIAN}\nRUN echo no luck here && false\n")
        async with around.runner():
            execution_id = await around.submit()
            ended = await around.ended(execution_id, within_seconds=60)
        assert (ended.status, ended.reason) == (Status.FAILED, reason), ended.message
        assert words in (ended.message or "")
        assert str(compose_hub.program.parents[1] / "work") not in (ended.message or "")
        assert left_of(execution_id) == []

    around = compose_hub("services: {}", path_docker_compose_run="absent.yml")
    async with around.runner():
        ended = await around.ended(await around.submit())
    assert (ended.reason, ended.category) == (Reason.COMPOSE_FILE_NOT_FOUND, Category.FILE)
    assert ended.message == f"Docker Compose file not found: {compose_hub.program / 'absent.yml'}"


async def test_what_was_made_carries_the_labels_and_the_limits_of_the_hub_k5(compose_hub: ComposeHub) -> None:
    file = {"services": {"app": shell("sleep 60", volumes=["data:/data"], tty=True)}, "volumes": {"data": {}}}
    around = compose_hub(file, memory_limit=64 * 1024**2, pids_limit=33, cpu_limit="0.25", stop_grace_seconds=1)
    async with around.runner():
        execution_id = await around.submit()
        running = await around.is_running(execution_id)
        wanted = f"--filter=label={labels.EXECUTION_ID}={execution_id}"
        assert docker("ps", "--quiet", "--no-trunc", wanted) == running.container_id
        assert docker("network", "ls", "--quiet", wanted) != ""
        assert docker("volume", "ls", "--quiet", wanted) != ""
        shown = docker(
            "inspect",
            "--format={{json .HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}"
            " {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.Config.Tty}} {{.HostConfig.LogConfig.Type}}",
            running.container_id or "",
        )
        assert shown == "67108864 67108864 250000000 33 [ALL] [no-new-privileges:true] false local"
        docker("kill", running.container_id or "")
        ended = await around.ended(execution_id)
        assert (ended.status, ended.reason, ended.exit_code) == (Status.FAILED, Reason.EXIT_CODE, 137)
    assert left_of(execution_id) == []


async def test_what_people_write_in_compose_files_works_unchanged_k1(compose_hub: ComposeHub) -> None:
    file = """\
    version: "3.8"
    x-common: &common
      image: pyexecutorhub-debian:bookworm
      restart: unless-stopped
      logging:
        driver: json-file
        options: {max-size: 10m}
      networks: [backend]
    services:
      worker:
        <<: *common
        container_name: the-worker
        hostname: worker
        tty: true
        stdin_open: true
        user: "65534:65534"
        working_dir: /app
        entrypoint: ["sh", "-c"]
        command: ["cat here; id -u; getent hosts the-cache >/dev/null && echo by name; cat /run/secrets/key"]
        env_file: [./defaults.env]
        environment:
          MODE: ${MODE:-test}
          SWITCH: on
        volumes:
          - ./app:/app:ro
          - type: volume
            source: cache
            target: /cache
          - type: tmpfs
            target: /scratch
        depends_on: [cache]
        expose: ["8000"]
        secrets: [key]
        ulimits: {nofile: 2048}
        deploy:
          replicas: 1
          resources:
            limits: {cpus: "0.3", memory: 64M}
          restart_policy: {condition: on-failure}
        labels: {com.example.team: data}
        init: true
        stop_grace_period: 2s
      cache:
        <<: *common
        container_name: the-cache
        command: sleep 60
        ports: ["0:80"]
        healthcheck: {test: ["CMD", "true"], interval: 30s, timeout: 5s, retries: 3, start_period: 1s}
        cap_add: [NET_BIND_SERVICE]
        security_opt: ["no-new-privileges:true"]
        extra_hosts: ["somehost:10.1.2.3"]
        init: true
    networks:
      backend: {driver: bridge}
    volumes:
      cache:
    secrets:
      key: {file: ./key.txt}
    """
    around = compose_hub(file)
    (compose_hub.program / "app").mkdir()
    (compose_hub.program / "app" / "here").write_text("in the folder\n")
    (compose_hub.program / "defaults.env").write_text("A=1\n")
    (compose_hub.program / "key.txt").write_text("the key\n")
    async with around.runner():
        execution_id = await around.submit()
        ended = await around.ended(execution_id, within_seconds=60)

    assert (ended.status, ended.message) == (Status.COMPLETED, None)
    lines = ["in the folder", "65534", "by name", "the key"]
    assert ended.stdout.content == "".join(f"worker-1  | {line}\n" for line in lines)
    assert left_of(execution_id) == []


async def test_a_build_that_fails_or_takes_too_long_leaves_nothing_k5(compose_hub: ComposeHub) -> None:
    for step, limit_seconds, words in (
        ("false", 60, "docker compose build failed"),
        ("sleep 600", 3, "did not end within 3 s"),
    ):
        around = compose_hub({"services": {"app": {"build": "."}}}, settings={"install_timeout_seconds": limit_seconds})
        runner_id = around.identity.runner_id
        marked = f"{step} # {runner_id}"
        (compose_hub.program / "Dockerfile").write_text(f"FROM {DEBIAN}\nRUN sh -c '{marked}'\n")
        async with around.runner():
            ended = await around.ended(await around.submit(), within_seconds=60)
        assert (ended.status, ended.reason) == (Status.FAILED, Reason.IMAGE_BUILD_FAILED)
        assert words in (ended.message or "")

        async def steps(runner_id: str = runner_id) -> list[str]:
            listed = await asyncio.to_thread(docker, "ps", "--all", "--no-trunc", "--format={{.Command}}")
            return [line for line in listed.splitlines() if runner_id in line]

        await eventually(steps, lambda seen: seen == [])
