"""Programs with a bridge that was made before they came."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runner import docker_bridges
from runner.docker_engine import DockerEngine
from runner.identity import Identity
from runner.sweeper import Sweeper, find_strays
from schemas.status import Status
from tests.integration.runner.conftest import MakeHub
from tests.integration.runner.test_network_sandboxes import (
    WAITS,
    closing,
    folder,
    make_engine,
    nobody_claims,
    nobody_else,
    run,
    sandbox_of,
    sandboxes,
)
from tests.support.docker import docker, inspect
from tests.support.runner_fixtures import Hub
from tests.support.wait import eventually

#: Says what the program sees of its network, too.
SEES = (
    """
import socket
print([line.split()[1] for line in open("/proc/net/route")][1:2])
print(len({address[4][0] for address in socket.getaddrinfo(socket.gethostname(), 80)}), open("/etc/hosts", "a").write(""))
"""
    + WAITS
)
SEEN = "['00000000']\n1 0\n['eth0', 'lo']\n"


@pytest.fixture
async def engine(identity: Identity, python_image: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DockerEngine]:
    """An engine that keeps a bridge ready, whatever Docker it is."""
    monkeypatch.setattr(docker_bridges, "_CALM_SECONDS", 0.1)
    async with closing(make_engine(identity, python_image)) as engine:
        yield engine

    async def left() -> set[str]:
        return sandboxes(identity)

    await eventually(left, lambda found: not found, within_seconds=30)


async def kept(around: Hub) -> str:
    """The one that is ready, once there is one and no other."""

    async def there() -> set[str]:
        return sandboxes(around.identity)

    async def is_ready() -> bool:
        assert isinstance(around.engine, DockerEngine)
        return around.engine._bridges._ready is not None

    await eventually(is_ready, within_seconds=30)
    (found,) = await eventually(there, lambda found: len(found) == 1, within_seconds=30)
    return found


async def test_each_program_runs_in_a_bridge_that_was_made_for_it_and_nobody_runs_there_after_it(hub: MakeHub) -> None:
    around = hub(SEES)
    async with around.runner():
        first, no_sandbox = await run(around)
        assert no_sandbox is None
        of_second = await kept(around)
        second, second_ran_in = await run(around)
        of_third = await kept(around)
        third, third_ran_in = await run(around)
        await kept(around)

    assert (second_ran_in, third_ran_in) == (of_second, of_third)
    assert of_second != of_third
    for ended in (first, second, third):
        assert (ended.status, ended.stdout.content, ended.stderr.content) == (Status.COMPLETED, SEEN, "")


async def test_of_two_programs_at_once_one_has_it(hub: MakeHub) -> None:
    around = hub(WAITS)
    async with around.runner():
        await run(around)
        (folder(around) / "go").unlink()
        of_one = await kept(around)
        running = [await around.submit() for _ in range(2)]
        for execution_id in running:
            await around.is_running(execution_id)
        assert sorted(map(str, [sandbox_of(each) for each in running])) == sorted([of_one, "None"])
        (folder(around) / "go").touch()
        for execution_id in running:
            assert (await around.ended(execution_id)).status is Status.COMPLETED


async def test_a_program_in_it_is_as_hardened_as_any_m13(hub: MakeHub) -> None:
    around = hub(WAITS)
    async with around.runner():
        plain, _ = await _inspected(around)
        bridge = await kept(around)
        shared, holder = await _inspected(around)

    assert plain.pop("NetworkMode") in ("bridge", "default")
    assert shared.pop("NetworkMode") == f"container:{bridge}"
    assert shared == plain
    host = holder["HostConfig"]
    assert (host["CapDrop"], host["SecurityOpt"], host["Privileged"]) == (["ALL"], ["no-new-privileges"], False)
    assert (host["ReadonlyRootfs"], host["NetworkMode"], host["PidsLimit"]) == (True, "bridge", 32)
    assert (holder["Config"]["User"], holder["Mounts"]) == ("65534:65534", [])


async def _inspected(around: Hub) -> tuple[dict[str, Any], dict[str, Any]]:
    (folder(around) / "go").unlink(missing_ok=True)
    execution_id = await around.submit()
    await around.is_running(execution_id)
    host: dict[str, Any] = (await asyncio.to_thread(inspect, execution_id))["HostConfig"]
    sandbox = sandbox_of(execution_id)
    holder = inspect(sandbox) if sandbox is not None else {}
    (folder(around) / "go").touch()
    await around.ended(execution_id)
    return host, holder


async def test_one_that_is_gone_or_has_ended_is_noticed_and_the_program_runs_without(hub: MakeHub) -> None:
    around = hub(WAITS)
    async with around.runner():
        await run(around)
        for ending in (("rm", "--force"), ("kill",)):
            bridge = await kept(around)
            docker(*ending, bridge)
            ended, sandbox = await run(around)
            assert (ended.status, sandbox) == (Status.COMPLETED, None)


async def test_one_of_an_earlier_life_stays_as_long_as_its_program_runs_m46(
    hub: MakeHub, identity: Identity, engine: DockerEngine, python_image: str
) -> None:
    around = hub(WAITS)
    async with closing(make_engine(identity, python_image)) as earlier:
        around.engine = earlier
        async with around.crashing_runner():
            await run(around)
            (folder(around) / "go").unlink()
            bridge = await kept(around)
            execution_id = await around.submit()
            await around.is_running(execution_id)
            assert sandbox_of(execution_id) == bridge
        # As after a SIGKILL: its connections are gone, and nothing was cleared away.
        await earlier._connection.close()

        around.engine = engine
        strays = await find_strays(engine, nobody_claims, nobody_else)
        assert bridge not in [stray.belonging.id for stray in strays]
        async with around.runner():
            (folder(around) / "go").touch()
            assert (await around.ended(execution_id)).status is Status.COMPLETED

            async def is_removed() -> bool:
                return execution_id not in docker("ps", "--all", "--format={{.Names}}")

            await eventually(is_removed)
            await Sweeper(engine, nobody_claims, is_anothers=nobody_else).sweep()
            assert bridge not in sandboxes(identity)
