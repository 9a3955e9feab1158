"""Runners killed at any moment of a Compose project's life: while it goes up, while it runs, while it goes down."""

import asyncio
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import HubMaker, user_of
from tests.support.api import Api
from tests.support.compose import Compose, compose_v2
from tests.support.docker import docker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

__all__ = ["compose_v2"]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

DEBIAN = "pyexecutorhub-debian:bookworm"
LINES = 30
#: Seconds in which runners are killed, again and again.
SECONDS = 70.0
#: Executions that are under way at each kill, begun one after the other so that the kill meets each at another point.
AT_ONCE = 3


def service(name: str, script: str, **fields: Any) -> dict[str, Any]:
    return {
        "image": DEBIAN,
        "command": ["sh", "-c", f"echo {name} >> /here/starts/$$ID; {script}"],
        "environment": {"ID": "${EXECUTION_ID}", "CODE": "${PARAM_CODE}"},
        "volumes": [".:/here", "data:/data"],
        "networks": ["inner"],
        **fields,
    }


STACK = {
    "services": {
        "app": service(
            "app",
            f"i=0; while [ $$i -lt {LINES} ]; do echo $$i; i=$$((i+1)); sleep 0.02; done; exit $$CODE",
            depends_on={"setup": {"condition": "service_completed_successfully"}, "database": {"condition": "service_started"}},
        ),
        "setup": service("setup", "echo set up > /data/setup; sleep 0.2"),
        "database": service("database", "sleep 600"),
    },
    "networks": {"inner": {}},
    "volumes": {"data": {}},
}
OUTPUT = "".join(f"app-1       | {number}\n" for number in range(LINES))


def with_stack(hub: HubProcess) -> Path:
    """Give the hub the program; the folder in which its services write down their starts."""
    hub.write_program("stack", json.dumps(STACK), file="docker-compose.yml", path_docker_compose_run="docker-compose.yml")
    hub.edit(lambda config: config["scripts"]["stack"].update(stop_grace_seconds=0.1))
    starts = hub.folder / "scripts" / "stack" / "starts"
    starts.mkdir()
    return starts


def left_of(hub: HubProcess) -> list[str]:
    """Everything on Docker that this hub has made."""
    label = f"--filter=label=io.pyexecutorhub.instance={hub.instance}"
    listed = (docker("ps", "-aq", label), docker("network", "ls", "-q", label), docker("volume", "ls", "-q", label))
    return [line for lines in listed for line in lines.split()]


async def test_fault29_m10_m46_t5_killed_at_any_moment_nothing_is_left_nothing_starts_twice_and_each_ends_as_it_should(
    make_hub: HubMaker, compose_v2: Compose
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    hub = make_hub(HUB_COMPOSE_COMMAND=str(compose_v2.path), HUB_SWEEP_SECONDS="10")
    starts = with_stack(hub)
    codes: dict[str, int] = {}
    seen: Counter[str] = Counter()
    async with user_of(hub) as api:
        give_up_at = time.monotonic() + SECONDS
        while time.monotonic() < give_up_at:
            fresh = await _begin(api, chance, codes)
            if chance.random() < 0.5:
                await api.finished(fresh[0])  # it is on its way down, and the others on theirs up
                await asyncio.sleep(chance.uniform(0.0, 0.5))
            else:
                await asyncio.sleep(chance.uniform(0.0, 2.0))
            hub.kill()
            for execution_id in fresh:
                seen[_point(execution_id, starts)] += 1
            hub.start()
            for execution_id in fresh:
                await api.finished(execution_id)
        print(f"{len(codes)} executions, killed with {dict(seen)}")  # noqa: T201

        async def left() -> list[str]:
            return await asyncio.to_thread(left_of, hub)

        await eventually(left, lambda found: found == [], within_seconds=60)
        for execution_id, code in codes.items():
            record = await api.get(f"/executions/{execution_id}")
            told = (record["status"], record["exit_code"], record["output"])
            assert told == ("failed" if code else "completed", code, OUTPUT), (seed, execution_id, record["error"])
            counted = Counter((starts / execution_id).read_text().split())
            assert counted == {"app": 1, "setup": 1, "database": 1}, (seed, execution_id)
        assert (await api.get("/executions/info"))["total_executions"] == len(codes)


async def _begin(api: Api, chance: random.Random, codes: dict[str, int]) -> list[str]:
    fresh = []
    for _ in range(AT_ONCE):
        code = chance.choice((0, 0, 3, 44))
        execution_id = await api.submit("stack", code=code)
        codes[execution_id] = code
        fresh.append(execution_id)
        await asyncio.sleep(chance.uniform(0.0, 1.0))
    return fresh


def _point(execution_id: str, starts: Path) -> str:
    """How far one had come when its runner was killed, for the report."""
    label = f"--filter=label=com.docker.compose.project=hub-{execution_id}"
    there = docker("ps", "-aq", label)
    if not (starts / execution_id).exists():
        return "containers made" if there else "nothing made"
    started = len((starts / execution_id).read_text().split())
    return f"{started} started" if there else "removed"
