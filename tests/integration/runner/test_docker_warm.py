"""The warm pool on the real engine: what it keeps, what it hands over, and what nobody gains by cheating it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner import labels
from runner.docker_engine import DockerEngine
from runner.docker_networks import SandboxUse
from runner.engine import ContainerState, Exit, Prepared
from runner.errors import ContainerGone, NeverStarted
from runner.identity import Identity
from runner.run_spec import RunSpec
from runner.sandbox_config import joined
from runner.steps import Step
from runner.warm_frames import nonces_of
from runner.warm_plan import WarmPlan
from runner.warm_pool import PoolLimits, Warm
from schemas.ids import new_execution_id
from schemas.output import StreamName
from schemas.programs import Network
from schemas.status import Status
from tests.integration.runner.conftest import COLD_AND_WARM, MakeHub
from tests.support.cut_proxy import cut_proxy
from tests.support.docker import SOCKET, docker, inspect
from tests.support.wait import eventually

WARM = pytest.mark.parametrize("engine", ["warm"], indirect=True)

MakeSpec = Callable[..., RunSpec]


@pytest.fixture
def spec(tmp_path: Path, identity: Identity, python_image: str) -> MakeSpec:
    """Makes an attempt of one program, a new one each time."""

    def make(source: str | None = None, **fields: Any) -> RunSpec:
        execution_id = new_execution_id()
        if source is not None:
            (tmp_path / "main.py").write_text(source, encoding="utf-8")
        said = {
            labels.MANAGED: "true",
            labels.INSTANCE: identity.instance,
            labels.RUNNER_ID: identity.runner_id,
            labels.PROGRAM_ID: "example",
            labels.EXECUTION_ID: execution_id,
            labels.ATTEMPT: "1",
        }
        return RunSpec(
            **{
                "execution_id": execution_id,
                "attempt": 1,
                "program_id": "example",
                "image": python_image,
                "argv": ("python", "main.py"),
                "env": {"EXECUTION_ID": execution_id},
                "host_folder": str(tmp_path),
                "memory_bytes": 64 * 1024**2,
                "nano_cpus": 1_000_000_000,
                "pids_limit": 50,
                "timeout_seconds": 60,
                "stop_grace_seconds": 1,
                "action_timeout_seconds": 60,
                "labels": said,
                **fields,
            }
        )

    return make


async def warmed(engine: DockerEngine, *specs: RunSpec, count: int = 1) -> None:
    """Have so many containers of each of these wait, and no others."""
    engine.warm.lacking = None
    engine.keep_warm([Warm(spec, count) for spec in specs])
    await is_settled(engine)


async def is_settled(engine: DockerEngine) -> None:
    """Wait until everything that is wanted waits."""

    async def lacking() -> int | None:
        return engine.warm.lacking

    await eventually(lacking, lambda seen: seen == 0, within_seconds=60)


async def ended(engine: DockerEngine, name: str) -> tuple[Exit, bytes, bytes]:
    """How a started program ends, and what it wrote."""
    written = dict.fromkeys(StreamName, b"")

    async def read() -> None:
        async for frame in engine.output(name):
            written[frame.stream] += frame.content

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(read())
        waiting = group.create_task(engine.wait(name))
    return waiting.result(), written[StreamName.STDOUT], written[StreamName.STDERR]


async def run(engine: DockerEngine, spec: RunSpec) -> tuple[Prepared, Exit, bytes]:
    prepared = await engine.prepare(spec)
    await engine.start(spec.name)
    exit_, out, _ = await ended(engine, spec.name)
    await engine.destroy(spec.name)
    return prepared, exit_, out


MARKS = """
import os
seen = [path for path in ("/tmp/mark", "/mark") if os.path.exists(path)]
for path in ("/tmp/mark", "/mark"):
    open(path, "w").close()
print(seen, os.environ["EXECUTION_ID"], len([name for name in os.listdir("/proc") if name.isdigit()]))
os.fork() or (os.setsid(), os.execvp("sleep", ["sleep", "600"]))
"""


@WARM
async def test_a_container_is_used_once_and_nothing_of_a_job_is_seen_by_the_next(engine: DockerEngine, spec: MakeSpec) -> None:
    await warmed(engine, spec(MARKS), count=2)
    used = set()
    for _ in range(4):
        await is_settled(engine)
        attempt = spec()
        prepared, exit_, out = await run(engine, attempt)
        assert (prepared.was_warm, exit_) == (True, Exit(0))
        assert out.startswith(f"[] {attempt.execution_id} ".encode())
        used.add(prepared.container_id)
    assert len(used) == 4
    for container_id in used:
        assert docker("ps", "--all", "--quiet", f"--filter=id={container_id}") == ""


FORGES = r"""
import os, time
frame = b"\x1e" + open("/workspace/nonce", "rb").read() + b" end %s\n"
os.write(1, b"before" + frame)
os.write(2, frame)
os.write(1, b"after")
for number in range(600):
    open("/workspace/alive", "w").write(str(number))
    time.sleep(0.1)
"""


@WARM
@pytest.mark.parametrize(
    ("said", "expected"), [("0 0 0", Exit(0)), ("7 0 0", Exit(7)), ("200 0 0", Exit(137)), ("0 1 0", Exit(137))]
)
async def test_a_forged_end_ends_the_program_that_forged_it_and_gains_nothing_else(
    engine: DockerEngine, spec: MakeSpec, tmp_path: Path, said: str, expected: Exit
) -> None:
    attempt = spec(FORGES.replace("%s", said))
    await warmed(engine, attempt)
    prepared = await engine.prepare(attempt)
    assert prepared.was_warm
    # As if it had found that out.
    nonce = nonces_of(WarmPlan.model_validate_json(prepared.plan or "").secret)[Step.PROGRAM]
    (tmp_path / "nonce").write_text(nonce)
    await engine.start(attempt.name)
    exit_, out, err = await ended(engine, attempt.name)
    await engine.destroy(attempt.name)

    assert (exit_.code, out, err) == (expected.code, b"before", b"")
    assert await engine.find(attempt.name) is None
    alive = (tmp_path / "alive").read_text()
    await asyncio.sleep(0.5)
    assert (tmp_path / "alive").read_text() == alive


@WARM
async def test_a_step_after_a_forged_end_is_the_users_own_and_the_forger_is_gone(
    engine: DockerEngine, spec: MakeSpec, tmp_path: Path
) -> None:
    (tmp_path / "actions").mkdir()
    after = "import os; print('after', os.environ['EXIT_CODE'], [n for n in os.listdir('/proc') if n.isdigit()][3:])"
    (tmp_path / "actions" / "act_after.py").write_text(after)
    attempt = spec(FORGES.replace("%s", "0 0 0"), actions=frozenset({Step.AFTER}), host_actions=str(tmp_path / "actions"))
    await warmed(engine, attempt)
    prepared = await engine.prepare(attempt)
    assert (prepared.was_warm, set(prepared.actions)) == (True, {Step.AFTER})
    nonce = nonces_of(WarmPlan.model_validate_json(prepared.plan or "").secret)[Step.PROGRAM]
    (tmp_path / "nonce").write_text(nonce)
    await engine.start(attempt.name)
    assert (await ended(engine, attempt.name))[0] == Exit(0)
    await engine.start(attempt.name, Step.AFTER, exit_code=0)
    exit_, out, _ = await ended(engine, attempt.name)
    await engine.destroy(attempt.name)
    assert (exit_.code, out) == (0, b"after 0 []\n")


@WARM
async def test_an_image_or_limits_or_variables_that_have_changed_make_other_containers(
    engine: DockerEngine, spec: MakeSpec, python_image: str
) -> None:
    image = "pyexecutorhub-test-retagged:local"
    docker("tag", python_image, image)
    try:
        first = spec("import os; print(os.environ.get('SECRET'), os.path.exists('/changed'))", image=image)
        await warmed(engine, first)
        (old,) = waiting(engine)
        docker("build", "--tag", image, "-", stdin=f"FROM {python_image}\nRUN touch /changed\n")
        # At once, although nobody has told the pool.
        prepared, _, out = await run(engine, spec(image=image))
        assert (prepared.was_warm, out) == (False, b"None True\n")
        for change, expected in (
            ({}, b"None True\n"),
            ({"memory_bytes": 32 * 1024**2}, b"None True\n"),
            ({"file_env": {"SECRET": "x"}, "env": {"SECRET": "x"}}, b"x True\n"),
        ):
            await warmed(engine, spec(image=image, **change))
            attempt = spec(image=image, **change)
            prepared, _, out = await run(engine, attempt)
            assert (prepared.was_warm, out) == (True, expected)

        async def old_is_there() -> str:
            return docker("ps", "--all", "--quiet", f"--filter=name={old}")

        await eventually(old_is_there, lambda seen: seen == "")
    finally:
        await engine.close()
        docker("rmi", "--force", image)


def waiting(engine: DockerEngine) -> list[str]:
    return docker(
        "ps",
        "--all",
        "--format={{.Names}}",
        f"--filter=label={labels.RUNNER_ID}={engine.identity.runner_id}",
        "--filter=name=^/warm-",
    ).split()


@WARM
async def test_a_pool_that_can_not_keep_up_falls_back_to_cold(hub: MakeHub) -> None:
    around = hub("print('ran')", warm=1)
    async with around.runner():
        ids = [await around.submit()]
        ids += list(await asyncio.gather(*(around.submit() for _ in range(3))))
        endings = [await around.ended(execution_id, within_seconds=60) for execution_id in ids]
    assert [(each.status, each.stdout.content) for each in endings] == [(Status.COMPLETED, "ran\n")] * 4


@WARM
async def test_the_pool_is_gone_with_its_runner_and_its_containers_are_nobodys_executions(
    engine: DockerEngine, spec: MakeSpec
) -> None:
    await warmed(engine, spec("print(1)"), count=2)
    assert len(waiting(engine)) == 2
    assert await engine.list_ours() == []
    assert await engine.list_running() == []
    assert [each.is_in_use for each in await engine.belongings()] == [True, True]
    await engine.close()
    assert waiting(engine) == []


@WARM
async def test_m45_what_waits_for_a_runner_that_was_killed_ends_by_itself_and_is_swept(
    engine: DockerEngine, spec: MakeSpec, identity: Identity
) -> None:
    await warmed(engine, spec("print(1)"))
    (name,) = waiting(engine)
    # Its connections are all that a killed process loses.
    for container in engine.warm.all_waiting():
        await container.output.close()

    async def state() -> str:
        return str(inspect(name)["State"]["Status"])

    await eventually(state, lambda seen: seen == "exited")
    next_life = DockerEngine(identity=identity, socket_path=SOCKET)
    try:
        (stray,) = await next_life.belongings()
        assert (stray.owner, stray.is_in_use) == (None, False)
        await next_life.remove(stray)
        assert waiting(engine) == []
    finally:
        await next_life.close()


@WARM
@pytest.mark.parametrize("command", ["kill", "rm --force"])
async def test_a_container_that_is_gone_is_noticed_before_or_after_it_is_taken(
    engine: DockerEngine, spec: MakeSpec, command: str
) -> None:
    await warmed(engine, spec("print('ran')"))
    docker(*command.split(), *waiting(engine))
    assert (await run(engine, spec()))[1:] == (Exit(0), b"ran\n")

    await warmed(engine, spec())
    attempt = spec()
    assert (await engine.prepare(attempt)).was_warm
    docker(*command.split(), attempt.name)
    if command == "rm --force":
        with pytest.raises(ContainerGone):
            await engine.start(attempt.name)
        return
    await engine.start(attempt.name)
    exit_, out, _ = await ended(engine, attempt.name)
    await engine.destroy(attempt.name)
    assert (exit_, out) == (Exit(0), b"ran\n")


@WARM
async def test_a_name_that_is_taken_leaves_the_container_to_the_next(
    engine: DockerEngine, spec: MakeSpec, python_image: str
) -> None:
    await warmed(engine, spec("print('ran')"))
    attempt = spec()
    docker(
        "create", "--name", attempt.name, *(f"--label={name}={value}" for name, value in attempt.labels.items()), python_image
    )
    # It is this attempt itself, in an earlier life.
    prepared, exit_, _ = await run(engine, attempt)
    assert (prepared.was_warm, exit_) == (False, Exit(0))
    assert (await run(engine, spec()))[0].was_warm


@WARM
async def test_m10_what_was_handed_over_and_has_not_begun_is_prepared_again_by_the_next_life(
    engine: DockerEngine, spec: MakeSpec, identity: Identity
) -> None:
    first, second = spec("print('ran')"), spec()
    await warmed(engine, first, count=2)
    plans = [(await engine.prepare(attempt)).plan for attempt in (first, second)]
    assert all(plans)
    await engine.close()
    next_life = DockerEngine(identity=identity, socket_path=SOCKET)
    try:
        assert {found.name: found.state for found in await next_life.list_ours()} == dict.fromkeys(
            (first.name, second.name), ContainerState.CREATED
        )
        assert await next_life.knows_all_starts(first.name)
        assert (await run(next_life, first))[1:] == (Exit(0), b"ran\n")
        with pytest.raises(NeverStarted):
            await next_life.adopt(second.name, plans[1])
        assert await next_life.find(second.name) is None
    finally:
        await next_life.close()


def counts(lines: int, *, pause: float, code: int) -> str:
    return f"""
import sys, time
for n in range({lines}):
    print(n, flush=True)
    print(-n, file=sys.stderr, flush=True)
    time.sleep({pause})
sys.stdout.write("no line break")
sys.exit({code})
"""


@WARM
async def test_m10_a_program_is_taken_up_with_all_that_it_wrote(
    engine: DockerEngine, spec: MakeSpec, identity: Identity
) -> None:
    attempt = spec(counts(40, pause=0.05, code=3))
    await warmed(engine, attempt)
    prepared = await engine.prepare(attempt)
    await engine.start(attempt.name)
    await engine.close()
    next_life = DockerEngine(identity=identity, socket_path=SOCKET)
    try:
        (found,) = await next_life.list_ours()
        assert found.state is ContainerState.RUNNING
        await next_life.adopt(attempt.name, prepared.plan)
        exit_, out, err = await ended(next_life, attempt.name)
        await next_life.destroy(attempt.name)
    finally:
        await next_life.close()
    assert exit_ == Exit(3)
    assert out == "".join(f"{n}\n" for n in range(40)).encode() + b"no line break"
    assert err == "".join(f"{-n}\n" for n in range(40)).encode()


@pytest.mark.parametrize("when", ["waits", "runs"])
async def test_a_broken_connection_is_no_end_and_costs_no_byte_of_a_warm_program(
    identity: Identity, spec: MakeSpec, tmp_path: Path, when: str
) -> None:
    attempt = spec(counts(200, pause=0.01, code=4))
    folder = tmp_path / "socket"
    folder.mkdir()
    async with cut_proxy(folder / "docker.sock", SOCKET) as proxy:
        engine = DockerEngine(identity=identity, socket_path=str(folder / "docker.sock"), warm_limits=PoolLimits())
        try:
            await warmed(engine, attempt)
            prepared = await engine.prepare(attempt)
            assert prepared.was_warm
            if when == "waits":
                proxy.cut()
                asyncio.get_running_loop().call_later(2.0, proxy.mend)
            await engine.start(attempt.name)
            if when == "runs":
                ending = asyncio.create_task(ended(engine, attempt.name))
                for _ in range(2):
                    await asyncio.sleep(0.4)
                    proxy.cut()
                    await asyncio.sleep(0.2)
                    proxy.mend()
                exit_, out, err = await ending
            else:
                exit_, out, err = await ended(engine, attempt.name)
            await engine.destroy(attempt.name)
        finally:
            await engine.close()
    assert exit_ == Exit(4)
    assert out == "".join(f"{n}\n" for n in range(200)).encode() + b"no line break"
    assert err == "".join(f"{-n}\n" for n in range(200)).encode()


@WARM
async def test_preloaded_modules_are_there_and_one_that_can_not_be_imported_is_told(hub: MakeHub) -> None:
    around = hub(
        "import sys; print('argparse' in sys.modules, sys.argv, __name__, __file__); raise SystemExit(5)",
        preload=("argparse", "no_such_module"),
        parameters="--fast",
    )
    async with around.runner():
        execution_id = await around.submit()
        running = await around.is_running(execution_id)
        ended = await around.ended(execution_id)
    assert running.was_warm
    assert (ended.exit_code, ended.stdout.content) == (5, "True ['main.py', '--fast'] __main__ /workspace/main.py\n")
    told = "[hub] preload: no_such_module could not be imported: ModuleNotFoundError: No module named 'no_such_module'\n"
    assert ended.lines_before == told


@COLD_AND_WARM
async def test_more_than_an_agent_is_told_runs_all_the_same(hub: MakeHub) -> None:
    around = hub("import os; print(len(os.environ['PARAM_LONG']))")
    async with around.runner():
        ended = await around.ended(await around.submit(long="x" * 100_000))
    assert ended.stdout.content == "100000\n"


#: Debian whose sh is busybox's.
BUSYBOX = "pyexecutorhub-test-busybox:local"


@WARM
@pytest.mark.parametrize("has_env", [True, False])
async def test_busyboxs_shell_does_as_well(engine: DockerEngine, spec: MakeSpec, python_image: str, has_env: bool) -> None:
    image = BUSYBOX + ("" if has_env else "-alone")
    if not docker("images", "--quiet", image):
        lines = f"FROM {python_image}\nRUN apt-get update && apt-get install -y --no-install-recommends busybox"
        lines += " && ln -sf /bin/busybox /bin/sh" + (
            "" if has_env else " && rm /usr/bin/env && ln -s /bin/busybox /usr/bin/env"
        )
        docker("build", "--network", "bridge", "--tag", image, "-", stdin=f"{lines}\n")
    source = """
    import os, signal, sys
    print(os.environ["PARAM_A"], signal.getsignal(signal.SIGINT) is signal.default_int_handler, sorted(set(os.environ)))
    sys.stderr.buffer.write(bytes(range(256)))
    sys.stderr.flush()
    os.kill(os.getpid(), 9) if os.environ["PARAM_A"] == "x" else sys.exit(3)
    """
    attempt = spec("\n".join(line[4:] for line in source.splitlines()), image=image, env={"PARAM_A": "it's $HOME\n\u00e9"})
    await warmed(engine, attempt)
    prepared = await engine.prepare(attempt)
    assert prepared.was_warm
    await engine.start(attempt.name)
    exit_, out, err = await ended(engine, attempt.name)
    await engine.destroy(attempt.name)
    assert (exit_, err) == (Exit(3), bytes(range(256)))
    assert out.decode().startswith("it's $HOME\n\u00e9 True ['HOME', 'HOSTNAME', ")

    await is_settled(engine)
    killed = replace(spec(image=image), env={"PARAM_A": "x"})
    prepared, exit_, _ = await run(engine, killed)
    assert (prepared.was_warm, exit_) == (True, Exit(137))


@COLD_AND_WARM
async def test_a_folder_that_was_put_in_the_place_of_another_is_the_one_that_runs(hub: MakeHub) -> None:
    around = hub("print('old')")
    folder = around.catalogues.current.project_dir / "example"
    async with around.runner():
        assert (await around.ended(await around.submit())).stdout.content == "old\n"
        folder.rename(folder.with_name("before"))
        folder.mkdir()
        (folder / "main.py").write_text("print('new')")
        for _ in range(3):
            assert (await around.ended(await around.submit())).stdout.content == "new\n"


SENDS = """
import os, socket
print(sorted(os.listdir("/sys/class/net")), flush=True)
if os.environ.get("SENDS"):
    one, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    other.bind(("127.0.0.1", 0))
    one.sendto(b"x", other.getsockname())
"""


async def test_while_programs_without_a_network_come_one_after_the_other_warm_ones_share_sandboxes_in_turn(
    identity: Identity, spec: MakeSpec, python_image: str
) -> None:
    engine = DockerEngine(
        identity=identity,
        socket_path=SOCKET,
        warm_limits=PoolLimits(containers=4, memory_bytes=2**30),
        sandbox_use=SandboxUse.ON,
        sandbox_image=lambda: python_image,
    )

    async def sandbox_of_next(**fields: Any) -> str | None:
        await is_settled(engine)
        attempt = spec(network=Network.NONE, **fields)
        prepared = await engine.prepare(attempt)
        assert prepared.was_warm
        sandbox = joined(inspect(attempt.name)["HostConfig"]["NetworkMode"])
        await engine.start(attempt.name)
        exit_, out, _ = await ended(engine, attempt.name)
        assert (exit_, out) == (Exit(0), b"['lo']\n")
        await engine.destroy(attempt.name)
        return sandbox

    try:
        await warmed(engine, spec(SENDS, network=Network.NONE))
        # None was made for a pool that nobody takes from.
        assert await sandbox_of_next() is None
        first = await eventually(sandbox_of_next, within_seconds=60)
        assert await eventually(sandbox_of_next, lambda sandbox: sandbox == first, within_seconds=60) == first
        # One in which something was sent is not used again.
        sent = None
        while sent is None:
            sent = await sandbox_of_next(env={"SENDS": "1"})
        assert sent not in {await sandbox_of_next() for _ in range(3)}
    finally:
        await engine.close()
