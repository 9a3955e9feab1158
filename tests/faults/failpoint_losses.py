"""More that happens to a hub while a process dies at a failpoint: runners and commands are lost, tokens are said again."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

import aio_pika

from bus import topology
from runner import labels
from tests.faults.failpoint_hub import LIMIT_SECONDS, FailpointHub
from tests.faults.failpoint_scenes import Death, around, publish_command
from tests.support.compose import nothing_left_of
from tests.support.docker import docker
from tests.support.hub_process import ROOT
from tests.support.wait import eventually

#: Makes a runner that is silent for six seconds a lost one.
QUICK_LEASES = {"HUB_LEASE_SECONDS": "1"}
#: What a process does first: its holder does not wait for claims to be made again, looks often, and takes no snapshot for new.
IMPATIENT = """
from datetime import timedelta

from hub import state_snapshots
from hub.lost_commands import LostCommands

LostCommands.__init__.__kwdefaults__ |= {"look_seconds": 0.5, "gap_seconds": 0.0}
state_snapshots.SNAPSHOT_AGE = timedelta(0)
"""
#: Tokens that hold: so many that a snapshot has two parts.
TOKENS = 101


@asynccontextmanager
async def _surroundings(hub: FailpointHub, **variables: str) -> AsyncIterator[None]:
    """While this lasts, all processes have these variables."""
    before = {part: dict(part.environment) for part in (hub.gateway, hub.runner)}
    try:
        for part in before:
            hub.kill(part)
            part.environment |= variables
        yield
    finally:
        for part, environment in before.items():
            hub.kill(part)
            part.environment = environment


async def _is_lost(hub: FailpointHub, execution_id: str) -> None:
    record = await hub.finished(execution_id)
    assert (record["status"], record["reason"], record["exit_code"]) == ("failed", "runner_lost", None), record


async def is_frozen_past_its_lease(hub: FailpointHub, death: Death) -> None:
    """The runner is frozen with a program that runs, is given up, and dies while it starts over."""

    async def freeze() -> str:
        execution_id = await hub.submit("lasts", str(uuid4()))
        await hub.is_running(execution_id)
        hub.runner.send_signal("runner", signal.SIGSTOP)
        await _is_lost(hub, execution_id)
        assert len(hub.runner.containers("running")) == 1
        hub.runner.send_signal("runner", signal.SIGCONT)
        return execution_id

    async with _surroundings(hub, **QUICK_LEASES):
        execution_id = await around(hub, death, freeze)
        # It works on under another epoch, and has told once what came of the one that was over.
        await hub.wrote_all(await hub.submit("writes", str(uuid4())))
        await hub.is_whole(execution_id, "lasts")
        await _is_lost(hub, execution_id)
        late = {body for key, body in hub.heard[execution_id] if key.startswith("execution.late_result.")}
        assert len(late) == 1, late


STACK = {
    "services": {
        "app": {"image": "pyexecutorhub-debian:bookworm", "command": "sleep 600", "depends_on": ["database"]},
        "database": {"image": "pyexecutorhub-debian:bookworm", "command": "sleep 600", "volumes": ["data:/data"]},
    },
    "volumes": {"data": {}},
}


async def is_frozen_with_compose(hub: FailpointHub, death: Death) -> None:
    """The runner is frozen with a Compose program, is given up, and dies while it clears that away."""
    file = "docker-compose.yml"
    await hub.add_program("lasting", json.dumps(STACK), file=file, path_docker_compose_run=file, stop_grace_seconds=0.1)

    async def running() -> int:
        return len(await asyncio.to_thread(hub.runner.containers, "running"))

    async def freeze() -> str:
        execution_id = await hub.submit("lasting", str(uuid4()))
        await eventually(running, lambda count: count == 2, within_seconds=LIMIT_SECONDS)
        await hub.is_running(execution_id)
        hub.runner.send_signal("runner", signal.SIGSTOP)
        await _is_lost(hub, execution_id)
        assert await running() == 2
        hub.runner.send_signal("runner", signal.SIGCONT)
        return execution_id

    async with _surroundings(hub, **QUICK_LEASES):
        execution_id = await around(hub, death, freeze)
        await hub.is_whole(execution_id, "lasting", starts=0)
        await _is_lost(hub, execution_id)
        await nothing_left_of(execution_id)


async def loses_a_runner(hub: FailpointHub, death: Death) -> None:
    """A runner is gone for longer than its lease; who gives it up dies meanwhile. Then the runner is back."""

    async def lose() -> str:
        execution_id = await hub.submit("lasts", str(uuid4()))
        await hub.is_running(execution_id)
        hub.kill(hub.runner)
        await _is_lost(hub, execution_id)
        return execution_id

    async with _surroundings(hub, **QUICK_LEASES):
        execution_id = await around(hub, death, lose)
        await hub.have(hub.runner)
        await hub.wrote_all(await hub.submit("writes", str(uuid4())))
        await hub.is_whole(execution_id, "lasts")
        await _is_lost(hub, execution_id)


async def loses_an_attempt(hub: FailpointHub, death: Death) -> None:
    """A runner is given up with a program that is tried again then: it is killed, or frozen where it is to die upon waking."""
    file = hub.folder / "scripts" / "at_first_lasts" / "starts"

    async def starts(execution_id: str) -> int:
        return file.read_text(encoding="ascii").split().count(execution_id) if file.exists() else 0

    async def lose() -> str:
        execution_id = await hub.submit("at_first_lasts", str(uuid4()))
        await eventually(lambda: starts(execution_id), within_seconds=LIMIT_SECONDS)
        await hub.is_running(execution_id)
        if death.victim == "runner":
            hub.runner.send_signal("runner", signal.SIGSTOP)
        else:
            hub.kill(hub.runner)
        await eventually(lambda: hub.record(execution_id), lambda record: record["attempt"] == 2, within_seconds=LIMIT_SECONDS)
        hub.runner.send_signal("runner", signal.SIGCONT)
        return execution_id

    async with _surroundings(hub, **QUICK_LEASES):
        execution_id = await around(hub, death, lose)
        await hub.have(hub.runner)
        record = await hub.is_whole(execution_id, "at_first_lasts", starts=2)
        assert (record["status"], record["attempt"], record["output"]) == ("completed", 2, "at last\n"), record
        assert [attempt["reason"] for attempt in record["attempts"]] == ["runner_lost"], record


def _impatient(hub: FailpointHub) -> AbstractAsyncContextManager[None]:
    (hub.folder / "sitecustomize.py").write_text(IMPATIENT, encoding="utf-8")
    return _surroundings(hub, PYTHONPATH=f"{hub.folder}:{ROOT}")


async def expires(hub: FailpointHub, death: Death) -> None:
    """A command expires before any runner takes it."""

    async def publish() -> str:
        hub.kill(hub.runner)
        execution_id = str(uuid4())
        hub.accepted.add(execution_id)
        await publish_command(hub, execution_id, json.dumps({"program_id": "writes"}).encode(), expiration=0.2)
        return execution_id

    async with _impatient(hub):
        execution_id = await around(hub, death, publish)
        await hub.have(hub.runner)
        record = await hub.is_whole(execution_id, starts=0)
        assert (record["status"], record["reason"], record["start_time"]) == ("failed", "expired", None), record


async def sweeps(hub: FailpointHub, death: Death) -> None:
    """A runner finds what nobody owns, and dies while it sweeps."""
    await hub.have(hub.gateway)
    await hub.have(hub.runner)
    await hub.wrote_all(await hub.submit("writes", str(uuid4())))
    hub.kill(hub.runner)
    runner_id = (hub.folder / "state" / "runner-id").read_text(encoding="ascii").strip()
    said = {labels.INSTANCE: hub.runner.instance, labels.RUNNER_ID: runner_id, labels.EXECUTION_ID: str(uuid4())}
    words = [f"--label={name}={value}" for name, value in said.items()]
    docker("create", *words, "pyexecutorhub-debian:bookworm", "true")
    docker("network", "create", *words, f"left-{uuid4()}")
    docker("volume", "create", *words)

    async def left() -> list[str]:
        kinds = (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
        of_it = f"--filter=label={labels.EXECUTION_ID}={said[labels.EXECUTION_ID]}"
        return [line for kind in kinds for line in docker(*kind, "--quiet", of_it).split()]

    assert len(await left()) == 3
    await hub.wrote_all(await around(hub, death, lambda: hub.submit("writes", str(uuid4()))))
    await eventually(left, lambda seen: seen == [], within_seconds=LIMIT_SECONDS)


async def says_its_tokens_again(hub: FailpointHub, death: Death) -> None:
    """A gateway dies while it says again all that holds, since so much was said meanwhile."""
    place = hub.folder / "state" / "tokens-from.json"

    async def snapshot_after(before: str) -> str:
        async def kept() -> str:
            return place.read_text(encoding="utf-8") if place.exists() else before

        return await eventually(kept, lambda seen: seen != before, within_seconds=LIMIT_SECONDS)

    async def forget(channel: aio_pika.abc.AbstractChannel) -> None:
        await channel.queue_delete(topology.STATE)

    async with _impatient(hub):
        await hub.amqp(forget)
        place.unlink(missing_ok=True)
        await hub.have(hub.gateway)
        of_nothing = await snapshot_after("")
        revoked = await _make_token(hub)  # which logs in, once
        holding = await asyncio.gather(*(_make_token(hub) for _ in range(TOKENS)))
        status, body = await hub.persist("DELETE", f"/auth/tokens/{revoked['id']}")
        assert status == 204, body
        await around(hub, death, lambda: snapshot_after(of_nothing))
        await _holds(hub, holding, revoked)
        # The next start begins to read there, and knows the same.
        hub.kill(hub.gateway)
        await hub.have(hub.gateway)
        await _holds(hub, holding, revoked)


async def _make_token(hub: FailpointHub) -> dict[str, str]:
    status, body = await hub.persist("POST", "/auth/tokens", {"name": "script"})
    assert status == 201, body
    token: dict[str, str] = body
    return token


async def _holds(hub: FailpointHub, holding: list[dict[str, str]], revoked: dict[str, str]) -> None:
    _, listed = await hub.persist("GET", "/auth/tokens")
    assert {token["id"] for token in listed} == {token["id"] for token in holding}, (len(listed), len(holding))
    for token, status in ((holding[0], 200), (holding[-1], 200), (revoked, 401)):
        answer = await hub.persist("GET", "/programs", token=token["token"])
        assert answer[0] == status, answer
