"""A runner that is killed or stopped while containers run, and the next life that takes them up."""

import asyncio
import random

import pytest

from schemas.output import StreamName
from schemas.status import Status
from tests.integration.runner.conftest import COLD_AND_WARM, MakeHub
from tests.support.docker import containers
from tests.support.runner_fixtures import Hub
from tests.support.wait import eventually

pytestmark = COLD_AND_WARM

#: Leaves a line for its start on the host, writes for a while, and exits with a code of its own.
WRITES = """
import os, sys, time
open("/workspace/starts", "a").write("x")
for number in range(int(os.environ["PARAM_LINES"])):
    print(number, "y" * int(os.environ.get("PARAM_WIDTH", "1")), flush=True)
    print(-number, file=sys.stderr, flush=True)
    time.sleep(float(os.environ.get("PARAM_PAUSE", "0.01")))
sys.stdout.buffer.write(b"\\xff no line break at the end")
sys.stdout.flush()
raise SystemExit(7)
"""


def expected(lines: int, width: int = 1) -> tuple[bytes, bytes]:
    out = "".join(f"{number} {'y' * width}\n" for number in range(lines)).encode() + b"\xff no line break at the end"
    return out, "".join(f"{-number}\n" for number in range(lines)).encode()


async def check(around: Hub, execution_id: str, lines: int, width: int = 1) -> None:
    ended = await around.ended(execution_id)
    out, err = expected(lines, width)
    assert (ended.status, ended.exit_code) == (Status.FAILED, 7)
    assert (ended.stdout.total_bytes, ended.stderr.total_bytes) == (len(out), len(err))
    assert not ended.stdout.truncated
    if ended.stdout.chunks:
        assert around.output(execution_id, StreamName.STDOUT) == out
        assert around.output(execution_id, StreamName.STDERR) == err
    if len(out) + len(err) <= 64 * 1024:
        assert (ended.stdout.content_bytes(), ended.stderr.content_bytes()) == (out, err)
    assert (around.catalogues.current.project_dir / "example" / "starts").read_text() == "x"
    statuses = [event.status for event in around.events(execution_id)]
    assert statuses == [Status.RUNNING, Status.FAILED]


async def test_b8_killed_again_and_again_a_program_is_started_once_and_ends_with_its_code_and_all_its_output_m10(
    hub: MakeHub,
) -> None:
    around = hub(WRITES)
    chance = random.Random(20261125)
    execution_id = ""
    for _ in range(6):
        async with around.crashing_runner():
            execution_id = execution_id or await around.submit(lines=300, width=300)
            await asyncio.sleep(chance.uniform(0.05, 0.9))
    async with around.runner():
        await check(around, execution_id, 300, 300)

        async def left() -> list[str]:
            return containers(execution_id=execution_id)

        await eventually(left, lambda names: names == [])


async def test_what_ended_while_nobody_was_there_is_told_with_its_true_code_and_all_its_output_m10(hub: MakeHub) -> None:
    around = hub(WRITES)
    async with around.crashing_runner():
        execution_id = await around.submit(lines=20)
        await around.is_running(execution_id)

    async def is_over() -> bool:
        found = await around.engine.find(execution_id)
        return found is not None and found.state.value == "ended"

    await eventually(is_over)
    async with around.runner():
        await check(around, execution_id, 20)


async def test_a_stopped_runner_lets_go_and_the_next_one_follows_without_a_gap_m10_m26(hub: MakeHub) -> None:
    around = hub(WRITES)
    async with around.runner(stop_limit_seconds=0):
        execution_id = await around.submit(lines=150)

        async def chunks() -> int:
            return len(around.chunks(execution_id))

        await eventually(chunks)
    assert len(containers(execution_id=execution_id)) == 1
    async with around.runner():
        await check(around, execution_id, 150)


@pytest.mark.parametrize("kill_after_seconds", [0.2, 0.6, 1.0, 1.6, 2.2])
async def test_actions_and_program_run_once_each_whenever_the_runner_is_killed_m10(
    hub: MakeHub, kill_after_seconds: float
) -> None:
    around = hub(WRITES)
    actions = around.catalogues.current.project_dir / "actions"
    actions.mkdir()
    for name in ("before", "after"):
        text = f"import time; print('{name} began', flush=True); time.sleep(0.4); open('/workspace/{name}', 'a').write('x')"
        (actions / f"act_{name}.py").write_text(text + f"; print('{name} ended')")
    async with around.crashing_runner():
        execution_id = await around.submit(lines=40)
        await asyncio.sleep(kill_after_seconds)
    async with around.runner():
        await check(around, execution_id, 40)
        ended = await around.ended(execution_id)
    assert ended.lines_before == "[act_before] before began\n[act_before] before ended\n"
    assert ended.lines_after == "[act_after] after began\n[act_after] after ended\n"
    for name in ("before", "after"):
        assert (around.catalogues.current.project_dir / "example" / name).read_text() == "x"
