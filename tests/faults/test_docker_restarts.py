"""Docker's daemon dies, is stopped and comes back under programs, on an engine of our own."""

import asyncio
import json
import textwrap
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runner.docker_daemon import DockerDaemon
from runner.docker_engine import DockerEngine
from runner.identity import Identity
from runner.warm_pool import PoolLimits
from schemas.events import Ended
from schemas.output import StreamName
from schemas.reasons import Category, Reason
from schemas.status import Status
from tests.support.own_engine import OwnEngine, Signal
from tests.support.runner_fixtures import Hub, make_hub, make_program
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

#: Writes numbers until it is told to end.
WRITES = """
    import os, sys, time
    number = 0
    while not os.path.exists("/workspace/end"):
        print(number, flush=True)
        print(-number, file=sys.stderr, flush=True)
        number += 1
        time.sleep(0.02)
    raise SystemExit(4)
"""
#: Ends as it is told to, when a file says so.
ENDS = """
    import os, signal, sys, time
    print("begun", flush=True)
    while not os.path.exists("/workspace/end"):
        time.sleep(0.02)
    how = os.environ["PARAM_HOW"]
    if how == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
    sys.exit(int(how))
"""
#: Takes SIGTERM as it is told to.
LASTS = """
    import os, signal, sys, time
    how = os.environ["PARAM_ON_SIGTERM"]
    if how == "completes":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    elif how == "ignores":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open("/workspace/starts", "a") as starts:
        starts.write(os.environ["EXECUTION_ID"] + "\\n")
    print("begun", flush=True)
    time.sleep(600)
"""
#: Leaves a line for its start, and ends soon.
SHORT = """
    import os, time
    with open("/workspace/starts", "a") as starts:
        starts.write(os.environ["EXECUTION_ID"] + "\\n")
    time.sleep(0.3)
"""
PROGRAMS = {"writes": WRITES, "ends": ENDS, "lasts": LASTS, "short": SHORT}


class Around(Hub):
    """A runner on the engine of our own, and its programs' folders."""

    def folder(self, program: str) -> Path:
        """Where its files lie."""
        return self.catalogues.current.project_dir / program

    async def submit(self, program: str = "example", /, **parameters: Any) -> str:
        """Publish a command, as soon as a container waits for it where one is wanted."""
        assert isinstance(self.engine, DockerEngine)
        pool = self.engine.warm

        async def is_ready() -> bool:
            asks_for_none = not any(each.warm for each in self.catalogues.current)
            return asks_for_none or pool.lacking == 0

        await eventually(is_ready, within_seconds=60)
        return await super().submit(program, **parameters)

    async def begun(self, *execution_ids: str) -> None:
        """Until these have written something."""

        async def written() -> bool:
            return all(self.chunks(name) for name in execution_ids)

        await eventually(written, within_seconds=30)

    async def endings(self, *execution_ids: str) -> list[Ended]:
        """How these ended."""
        return [await self.ended(name, within_seconds=60) for name in execution_ids]


@pytest.fixture
async def around(
    tmp_path: Path, own_engine: OwnEngine, python_image: str, request: pytest.FixtureRequest
) -> AsyncIterator[Around]:
    is_warm = getattr(request, "param", "cold") == "warm"
    programs = [make_program(name, warm=3 if is_warm else 0) for name in PROGRAMS]
    settings: dict[str, Any] = {"docker_image": python_image, "max_concurrent_executions": 10, "memory_limit": "64m"}
    made = make_hub(tmp_path, *programs, **settings)
    identity = Identity("own-engine", f"r{abs(hash(request.node.nodeid)):x}")
    engine = DockerEngine(identity=identity, socket_path=str(own_engine.socket), warm_limits=PoolLimits(12, 1024**3))
    around = Around(made.state_dir, made.catalogues, engine=engine, identity=identity)
    for name, source in PROGRAMS.items():
        (around.folder(name) / "main.py").write_text(textwrap.dedent(source))
    yield around
    await engine.close()
    await in_thread(own_engine.start_if_down)

    async def left() -> list[str]:
        names = own_engine.docker("ps", "--all", "--quiet").split()
        for name in names:  # of which Docker may be removing some already
            own_engine.docker("rm", "--force", name, check=False)
        return names

    await eventually(left, lambda names: names == [], within_seconds=30)


COLD_AND_WARM = pytest.mark.parametrize("around", ["cold", "warm"], indirect=True)


async def in_thread(work: Any, *arguments: Any) -> None:
    await asyncio.to_thread(work, *arguments)


async def restarted(engine: OwnEngine, *, live_restore: bool) -> None:
    """Have it run with or without live-restore."""
    await in_thread(engine.end, "TERM")
    await asyncio.to_thread(engine.start, live_restore=live_restore)


@COLD_AND_WARM
async def test_fault13_with_live_restore_no_program_notices_and_no_line_is_lost(own_engine: OwnEngine, around: Around) -> None:
    await restarted(own_engine, live_restore=True)
    async with around.runner() as runner:
        writing = [await around.submit("writes") for _ in range(3)]
        by_code = {how: await around.submit("ends", how=how) for how in ("0", "7", "signal", "255")}
        await around.begun(*writing, *by_code.values())
        for round_, signal in enumerate(("KILL", "TERM") * 3):
            await in_thread(own_engine.end, signal)
            if round_ == 1:
                # These end while nobody is there to see it.
                (around.folder("ends") / "end").touch()
            await asyncio.sleep(1)
            await in_thread(own_engine.start)

            async def answers() -> bool:
                return runner.problem is None

            await eventually(answers)
        (around.folder("writes") / "end").touch()
        for execution_id, ended in zip(writing, await around.endings(*writing), strict=True):
            assert (ended.status, ended.reason, ended.exit_code) == (Status.FAILED, Reason.EXIT_CODE, 4)
            numbers = around.output(execution_id, StreamName.STDOUT).decode().splitlines()
            assert numbers == [str(number) for number in range(len(numbers))]
            assert len(numbers) > 100
            negated = around.output(execution_id, StreamName.STDERR).decode().splitlines()
            assert negated == [str(-number) for number in range(len(numbers))]
        codes = {how: ended.exit_code for how, ended in zip(by_code, await around.endings(*by_code.values()), strict=True)}
        assert codes == {"0": 0, "7": 7, "signal": 143, "255": 255}
        reasons = {ended.reason for ended in await around.endings(*by_code.values())}
        assert reasons == {None, Reason.EXIT_CODE}
        # Docker's own word for an end that it lost, by a program that means it.
        late = await around.ended(await around.submit("ends", how="255"), within_seconds=60)
        assert (late.status, late.reason, late.exit_code) == (Status.FAILED, Reason.EXIT_CODE, 255)


@COLD_AND_WARM
@pytest.mark.parametrize("signal", ["TERM", "KILL"])
async def test_fault14_t11_without_live_restore_what_the_daemon_ended_has_failed_for_that_reason(
    own_engine: OwnEngine, around: Around, signal: Signal
) -> None:
    await restarted(own_engine, live_restore=False)
    async with around.runner():
        own = {how: await around.submit("ends", how=how) for how in ("0", "7", "signal", "137")}
        await around.begun(*own.values())
        lasting = [await around.submit("lasts", on_sigterm=how) for how in ("dies", "completes", "ignores")]
        await around.begun(*lasting)
        (around.folder("ends") / "end").touch()
        codes = {how: ended.exit_code for how, ended in zip(own, await around.endings(*own.values()), strict=True)}
        assert codes == {"0": 0, "7": 7, "signal": 143, "137": 137}
        assert {ended.reason for ended in await around.endings(*own.values())} == {None, Reason.EXIT_CODE}

        await in_thread(own_engine.end, signal)
        await in_thread(own_engine.start)
        for ended in await around.endings(*lasting):
            assert (ended.status, ended.reason, ended.category) == (Status.FAILED, Reason.DOCKER_RESTARTED, Category.SYSTEM)
            assert "Docker was restarted" in (ended.message or "")
            assert ended.stdout.content == "begun\n"
        after = await around.ended(await around.submit("ends", how="0"))
        assert after.status is Status.COMPLETED
    assert sorted((around.folder("lasts") / "starts").read_text().split()) == sorted(lasting)


@pytest.mark.parametrize("live_restore", [False, True])
async def test_fault14_fault35_a_runner_that_was_away_too_is_not_misled(
    own_engine: OwnEngine, around: Around, live_restore: bool
) -> None:
    """The machine loses its power, or, without live-restore, its daemon is stopped, while nobody watches."""
    await restarted(own_engine, live_restore=live_restore)
    async with around.crashing_runner():
        lasting = [await around.submit("lasts", on_sigterm=how) for how in ("dies", "completes")]
        await around.begun(*lasting)
    if live_restore:
        await in_thread(own_engine.lose_power)
        await in_thread(own_engine.power_on)
    else:
        await in_thread(own_engine.restart, "TERM")
    async with around.runner():
        for ended in await around.endings(*lasting):
            assert (ended.status, ended.reason) == (Status.FAILED, Reason.DOCKER_RESTARTED)
            assert ended.stdout.content == "begun\n"
    assert sorted((around.folder("lasts") / "starts").read_text().split()) == sorted(lasting)


@pytest.mark.parametrize("live_restore", [False, True])
async def test_fault13_fault14_t5_a_daemon_killed_while_containers_are_made_started_and_removed_starts_nothing_twice(
    own_engine: OwnEngine, around: Around, live_restore: bool
) -> None:
    await restarted(own_engine, live_restore=live_restore)
    submitted: list[str] = []
    async with around.runner() as runner:

        async def submit() -> None:
            while True:
                submitted.append(await around.submit("short"))
                await asyncio.sleep(0.2)
                if len(submitted) >= 20:  # a slow machine gets no heap of work
                    await around.ended(submitted[-20], within_seconds=60)

        async def answers() -> bool:
            return runner.problem is None

        submitting = asyncio.create_task(submit())
        for round_ in range(4):
            await asyncio.sleep(1.5 + 0.4 * round_)  # how far the next ones have come when it is killed
            await in_thread(own_engine.end, "KILL")
            await in_thread(own_engine.start)
            await eventually(answers)
        submitting.cancel()
        # It works as before, and nothing is lost to a restart that is over.
        after = await around.submit("short")
        endings = dict(zip(submitted, await around.endings(*submitted), strict=True))
        assert (await around.ended(after, within_seconds=60)).status is Status.COMPLETED

        async def left() -> list[str]:
            return (await asyncio.to_thread(own_engine.docker, "ps", "--all", "--quiet")).split()

        await eventually(left, lambda names: names == [], within_seconds=30)
    starts = Counter((around.folder("short") / "starts").read_text().split())
    assert set(starts.values()) == {1}
    assert {(ended.status, ended.reason) for ended in endings.values()} <= {
        (Status.COMPLETED, None),
        # What was being started when it died: with live-restore too.
        (Status.FAILED, Reason.DOCKER_RESTARTED),
    }
    completed = {name for name, ended in endings.items() if ended.status is Status.COMPLETED}
    assert completed
    assert completed <= set(starts)


@pytest.mark.parametrize("live_restore", [False, True])
async def test_fault14_t5_a_daemon_that_was_restarted_is_not_taken_for_the_one_that_made_a_container(
    own_engine: OwnEngine, python_image: str, live_restore: bool
) -> None:
    await restarted(own_engine, live_restore=live_restore)
    daemon = DockerDaemon(str(own_engine.socket))
    # What runs on keeps the network, by which the lives of the daemon are told apart else.
    running = own_engine.docker("run", "--detach", python_image, "sleep", "60")
    made = own_engine.docker("create", python_image, "true")
    try:
        (container,) = json.loads(own_engine.docker("inspect", made))
        assert await daemon.has_made(container)
        await in_thread(own_engine.restart, "KILL")
        assert not await daemon.has_made(container)
    finally:
        await in_thread(own_engine.start_if_down)
        own_engine.docker("rm", "--force", running, made)
