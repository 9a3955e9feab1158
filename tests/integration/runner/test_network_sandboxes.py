"""Programs without a network, one after the other in networks that were made beforehand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runner import labels
from runner.docker_engine import DockerEngine
from runner.docker_networks import SandboxUse
from runner.errors import CannotRun
from runner.identity import Identity
from runner.sandbox_config import joined
from runner.sweeper import Sweeper, find_strays
from schemas.events import Ended
from schemas.status import Status
from tests.integration.runner.conftest import MakeHub
from tests.support.docker import SOCKET, docker, inspect
from tests.support.runner_fixtures import Hub
from tests.support.wait import eventually

#: Runs until the file ``go`` lies in its folder.
WAITS = """
import os, time
print(sorted(os.listdir("/sys/class/net")), flush=True)
while not os.path.exists("/workspace/go"):
    time.sleep(0.02)
"""


def sandboxes(identity: Identity) -> set[str]:
    """Ids of the sandboxes that run."""
    wanted = [f"--filter=label={labels.RUNNER_ID}={identity.runner_id}", f"--filter=label={labels.NETWORK_SANDBOX}"]
    return set(docker("ps", "--quiet", "--no-trunc", *wanted).split())


def sandbox_of(execution_id: str) -> str | None:
    """The sandbox that a program's container is in."""
    return joined(inspect(execution_id)["HostConfig"]["NetworkMode"])


@pytest.fixture
async def engine(identity: Identity, python_image: str) -> AsyncIterator[DockerEngine]:
    """An engine that has sandboxes, whatever Docker it is."""
    async with closing(make_engine(identity, python_image)) as engine:
        yield engine

    async def left() -> set[str]:
        return sandboxes(identity)

    await eventually(left, lambda found: not found, within_seconds=30)


@asynccontextmanager
async def closing(engine: DockerEngine) -> AsyncIterator[DockerEngine]:
    """An engine, closed whatever a test finds: what it leaves open fails another test, at any time."""
    try:
        yield engine
    finally:
        await engine.close()


def make_engine(identity: Identity, image: str) -> DockerEngine:
    return DockerEngine(identity=identity, socket_path=SOCKET, sandbox_use=SandboxUse.ON, sandbox_image=lambda: image)


async def nobody_claims() -> frozenset[str]:
    """No program of this runner is known."""
    return frozenset()


async def nobody_else(_: object) -> bool:
    """Nothing is another runner's."""
    return False


def folder(around: Hub) -> Path:
    return around.catalogues.current.project_dir / "example"


async def run(around: Hub, *, program: str = "example", **parameters: str) -> tuple[Ended, str | None]:
    """Run a program; its end, and the sandbox that it was in. It waits for the file ``go``."""
    go = around.catalogues.current.project_dir / program / "go"
    go.unlink(missing_ok=True)
    execution_id = await around.submit(program, **parameters)
    await around.is_running(execution_id)
    sandbox = await asyncio.to_thread(sandbox_of, execution_id)
    go.touch()
    ended = await around.ended(execution_id)
    await cleared(around)
    return ended, sandbox


async def cleared(around: Hub) -> None:
    """No program has a sandbox any more, and none is being looked at, made or removed."""
    assert isinstance(around.engine, DockerEngine)
    kept = around.engine._sandboxes

    async def at_rest() -> bool:
        return not kept._users and not kept._tasks and len(kept._free) == len(kept._all)

    await eventually(at_rest, within_seconds=30)


async def run_in_a_sandbox(around: Hub, *, program: str = "example") -> tuple[Ended, str]:
    """The same, once there is a sandbox to run it in, which is made the first time that one is missed."""

    async def once() -> tuple[Ended, str | None]:
        return await run(around, program=program)

    ended, sandbox = await eventually(once, lambda found: found[1] is not None, within_seconds=30)
    assert sandbox is not None
    return ended, sandbox


async def test_who_misses_a_sandbox_runs_without_and_the_next_ones_share_one_in_turn(hub: MakeHub, identity: Identity) -> None:
    around = hub(WAITS, network="none")
    async with around.runner():
        first, no_sandbox = await run(around)
        assert no_sandbox is None
        second, sandbox = await run_in_a_sandbox(around)
        third, again = await run_in_a_sandbox(around)
        assert sandboxes(identity) == {sandbox}
        assert again == sandbox

    for ended in (first, second, third):
        assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "['lo']\n")


WRITES = """
for path in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/proc/sys/net/ipv4/ip_forward"):
    try:
        open(path, "a")
    except OSError as error:
        print(path, error.errno)
"""


async def test_a_program_in_a_sandbox_is_as_hardened_as_any_and_sees_its_files_read_only_m13(
    hub: MakeHub, identity: Identity
) -> None:
    around = hub(WRITES + WAITS, network="none")
    async with around.runner():
        plain = await _host_config(around)
        await run_in_a_sandbox(around)
        shared = await _host_config(around)
        sandbox = joined(shared.pop("NetworkMode"))
        seen = inspect(sandbox or "")
        ended, _ = await run_in_a_sandbox(around)

    assert plain.pop("NetworkMode") == "none"
    own, theirs = plain.pop("Mounts"), shared.pop("Mounts")
    assert shared == plain
    assert theirs[: len(own)] == own
    assert {mount["Target"]: mount["ReadOnly"] for mount in theirs[len(own) :]} == {
        "/etc/hosts": True,
        "/etc/hostname": True,
        "/etc/resolv.conf": True,
    }
    assert ended.stdout.content == (
        "/etc/hosts 30\n/etc/hostname 30\n/etc/resolv.conf 30\n/proc/sys/net/ipv4/ip_forward 30\n['lo']\n"
    )
    host = seen["HostConfig"]
    assert (host["CapDrop"], host["SecurityOpt"], host["Privileged"]) == (["ALL"], ["no-new-privileges"], False)
    assert (host["ReadonlyRootfs"], host["NetworkMode"], host["PidsLimit"]) == (True, "none", 32)
    assert (seen["Config"]["User"], seen["Mounts"]) == ("65534:65534", [])


async def _host_config(around: Hub) -> dict[str, Any]:
    go = folder(around) / "go"
    go.unlink(missing_ok=True)
    execution_id = await around.submit()
    await around.is_running(execution_id)
    found: dict[str, Any] = (await asyncio.to_thread(inspect, execution_id))["HostConfig"]
    go.touch()
    await around.ended(execution_id)
    return found


LEAVES = """
import os, socket, time
if os.fork() == 0:
    os.setsid()
    for number in (1, 2, 15):
        import signal
        signal.signal(number, signal.SIG_IGN)
    listening = [socket.create_server(("127.0.0.1", 4711)), socket.socket(socket.AF_UNIX)]
    listening[1].bind("\\0left")
    listening[1].listen()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 4712))
    open("/workspace/listens", "w").close()
    time.sleep(600)
while not os.path.exists("/workspace/listens"):
    time.sleep(0.01)
"""

LOOKS = """
import socket
print(sorted(line.split()[-1] for line in open("/proc/net/unix") if "@" in line))
print([len(open("/proc/net/" + name).readlines()) - 1 for name in ("tcp", "tcp6", "udp", "udp6", "raw", "netlink")])
print([field for field in open("/proc/net/dev").read().split("lo:")[1].split() if field != "0"])
socket.create_server(("127.0.0.1", 4711))
"""


async def test_nothing_that_a_program_leaves_is_there_for_the_next_one(hub: MakeHub, identity: Identity) -> None:
    around = hub(LEAVES + WAITS, network="none")
    around.add_program("next", LOOKS + WAITS, network="none")
    async with around.runner():
        _, sandbox = await run_in_a_sandbox(around)
        assert (folder(around) / "listens").exists()
        ended, theirs = await run_in_a_sandbox(around, program="next")

    assert theirs == sandbox
    assert (ended.status, ended.stderr.content) == (Status.COMPLETED, "")
    unix, sockets, counters, interfaces = (ended.stdout.content or "").splitlines()
    assert interfaces == "['lo']"
    assert (unix, counters) == ("[]", "[]")
    assert sockets.startswith("[0, 0, 0, 0, 0, ")


TALKS = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
server.accept()[0].close()  # who closes first leaves the connection waiting for a minute
client.close()
"""


async def test_a_sandbox_in_which_something_was_sent_is_gone_and_its_program_gets_no_other(
    hub: MakeHub, identity: Identity
) -> None:
    around = hub(TALKS + WAITS, network="none")
    around.add_program("quiet", WAITS, network="none")
    async with around.runner():
        ended, sandbox = await run_in_a_sandbox(around)
        assert (ended.status, ended.stderr.content) == (Status.COMPLETED, "")

        async def there() -> set[str]:
            return sandboxes(identity)

        await eventually(there, lambda found: sandbox not in found)
        for _ in range(3):
            assert (await run(around))[1] is None
        _, another = await run_in_a_sandbox(around, program="quiet")

    assert another != sandbox


async def test_two_programs_are_never_in_one_sandbox_at_once(hub: MakeHub, identity: Identity) -> None:
    around = hub(WAITS, network="none")
    async with around.runner():
        await run_in_a_sandbox(around)
        most_at_once = 0
        for _ in range(6):
            (folder(around) / "go").unlink(missing_ok=True)
            running = [await around.submit() for _ in range(3)]
            for execution_id in running:
                await around.is_running(execution_id)
            inside = [sandbox for each in running if (sandbox := sandbox_of(each)) is not None]
            assert len(set(inside)) == len(inside)
            most_at_once = max(most_at_once, len(inside))
            (folder(around) / "go").touch()
            for execution_id in running:
                await around.ended(execution_id)
        # Of those that ended, some may still have been about to be removed when the next ones came.
        assert len(sandboxes(identity)) <= 6

    assert most_at_once >= 2


async def test_a_sandbox_of_an_earlier_life_stays_as_long_as_its_program_runs_m46(
    hub: MakeHub, identity: Identity, engine: DockerEngine, python_image: str
) -> None:
    around = hub(WAITS, network="none")
    async with closing(make_engine(identity, python_image)) as earlier:
        around.engine = earlier
        async with around.crashing_runner():
            _, sandbox = await run_in_a_sandbox(around)
            (folder(around) / "go").unlink()
            execution_id = await around.submit()
            await around.is_running(execution_id)
            assert sandbox_of(execution_id) == sandbox
        # As after a SIGKILL: its connections are gone, and nothing was cleared away.
        await earlier._connection.close()

        around.engine = engine
        strays = await find_strays(engine, nobody_claims, nobody_else)
        assert [stray.belonging.name for stray in strays] == [execution_id]
        async with around.runner():
            assert sandboxes(identity) == {sandbox}
            (folder(around) / "go").touch()
            assert (await around.ended(execution_id)).status is Status.COMPLETED

            async def is_removed() -> bool:
                return execution_id not in docker("ps", "--all", "--format={{.Names}}")

            await eventually(is_removed)
            assert await Sweeper(engine, nobody_claims, is_anothers=nobody_else).sweep() == 1
            assert sandboxes(identity) == set()


async def test_fault13_a_sandbox_that_ended_with_docker_is_started_again_for_who_was_to_start_in_it(
    hub: MakeHub, identity: Identity, engine: DockerEngine
) -> None:
    around = hub(WAITS, network="none")
    async with around.runner():
        _, sandbox = await run_in_a_sandbox(around)
        take = engine._sandboxes.take

        async def take_and_lose(*arguments: object) -> object:
            joint = await take(*arguments)  # type: ignore[arg-type]
            await asyncio.to_thread(docker, "kill", sandbox)
            return joint

        engine._sandboxes.take = take_and_lose  # type: ignore[method-assign, assignment]
        ended, theirs = await run(around)
        engine._sandboxes.take = take  # type: ignore[method-assign]

        assert (ended.status, ended.stdout.content, theirs) == (Status.COMPLETED, "['lo']\n", sandbox)
        # It lost its memory of what was sent in it, so it is not used again.
        _, another = await run_in_a_sandbox(around)
        assert another != sandbox


async def test_nobody_else_s_container_is_started_for_who_was_to_join_it(
    engine: DockerEngine, identity: Identity, python_image: str
) -> None:
    said = [f"--label={labels.INSTANCE}={identity.instance}", f"--label={labels.RUNNER_ID}={identity.runner_id}"]
    other = docker("create", *said, "--network=none", python_image, "sleep", "600")
    joins = docker("create", *said, f"--network=container:{other}", python_image, "true")
    try:
        engine.take_over(joins)
        with pytest.raises(CannotRun, match="cannot join network of a non running container"):
            await engine.start(joins)
        assert inspect(other)["State"]["Status"] == "created"
    finally:
        docker("rm", "--force", joins, other)


async def test_a_sandbox_that_is_gone_is_noticed_before_it_is_given_to_anybody(hub: MakeHub) -> None:
    around = hub(WAITS, network="none")
    async with around.runner():
        _, sandbox = await run_in_a_sandbox(around)
        docker("rm", "--force", sandbox)
        ended, theirs = await run(around)
        assert (ended.status, theirs) == (Status.COMPLETED, None)
        _, another = await run_in_a_sandbox(around)
        assert another != sandbox


async def test_sandboxes_are_no_programs_to_those_who_ask_what_runs_c1(
    hub: MakeHub, identity: Identity, engine: DockerEngine
) -> None:
    around = hub(WAITS, network="none")
    async with around.runner():
        await run_in_a_sandbox(around)
        (folder(around) / "go").unlink()
        execution_id = await around.submit()
        await around.is_running(execution_id)

        assert [container.name for container in await engine.list_running()] == [execution_id]
        assert [found.name for found in await engine.list_ours()] == [execution_id]
        assert len(sandboxes(identity)) == 1
        (folder(around) / "go").touch()
        await around.ended(execution_id)


async def test_actions_and_their_program_are_in_one_sandbox(hub: MakeHub, identity: Identity) -> None:
    around = hub(WAITS, network="none")
    actions = around.catalogues.current.project_dir / "actions"
    actions.mkdir()
    (actions / "act_before.py").write_text("import os; print(os.listdir('/sys/class/net'), flush=True)")
    (actions / "act_after.py").write_text("import os; print(os.listdir('/sys/class/net'), flush=True)")
    async with around.runner():
        ended, sandbox = await run_in_a_sandbox(around)

    assert sandbox is not None
    assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "['lo']\n")
    assert [said.split() for said in (ended.lines_before, ended.lines_after) if said] == [
        ["[act_before]", "['lo']"],
        ["[act_after]", "['lo']"],
    ]


async def test_an_image_that_can_not_make_a_sandbox_only_costs_the_gain(
    hub: MakeHub, identity: Identity, python_image: str
) -> None:
    around = hub(WAITS, network="none")
    async with closing(make_engine(identity, "pyexecutorhub-test-missing:none")) as engine:
        around.engine = engine
        async with around.runner():
            for _ in range(3):
                ended, sandbox = await run(around)
                assert (ended.status, sandbox) == (Status.COMPLETED, None)
        assert sandboxes(identity) == set()
