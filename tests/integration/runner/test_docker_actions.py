"""Actions in real containers: the ones of the seed's README, and what images and programs can do to them."""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from schemas.events import Ended
from schemas.output import StreamName
from schemas.reasons import Reason
from schemas.status import Status
from tests.integration.runner.conftest import COLD_AND_WARM, MakeHub, killed_for_want_of_memory
from tests.support.docker import docker, inspect
from tests.support.runner_fixtures import Hub

pytestmark = COLD_AND_WARM

BEFORE = """
import os
import logging

def main():
    program_id = os.getenv('PROGRAM_ID')
    execution_id = os.getenv('EXECUTION_ID')
    logging.basicConfig(level=logging.INFO)
    logging.info(f"Starting execution {execution_id} for program {program_id}")
    print("🔧 Pre-execution actions completed")
    open("/tmp/prepared", "w").write(os.getcwd())

if __name__ == "__main__":
    main()
"""
AFTER = """
import os

exit_code = os.getenv('EXIT_CODE', '0')
print("after", os.getenv('PROGRAM_ID'), os.getenv('PARAM_NAME'), exit_code, os.path.exists("/tmp/prepared"))
"""
PROGRAM = """
import os, sys
print("prepared in", open("/tmp/prepared").read(), "EXIT_CODE" in os.environ, sys.stdin.read() == "")
sys.stdout.flush()
sys.stderr.buffer.write(bytes(range(256)))
sys.exit(3)
"""

#: A Python without any shell.
SHELL_LESS = "pyexecutorhub-test-shell-less:local"


def put_actions(around: Hub, before: str | None, after: str | None) -> None:
    folder: Path = around.catalogues.current.project_dir / "actions"
    folder.mkdir(exist_ok=True)
    for name, text in (("act_before.py", before), ("act_after.py", after)):
        if text is not None:
            (folder / name).write_text(text)


async def run(around: Hub, **parameters: Any) -> Ended:
    async with around.runner():
        return await around.ended(await around.submit(**parameters))


async def test_the_readmes_actions_run_in_the_programs_own_container_h1_h2_h3_h6_b3(hub: MakeHub) -> None:
    around = hub(PROGRAM)
    put_actions(around, BEFORE, AFTER)
    ended = await run(around, name="Temis")

    assert (ended.status, ended.exit_code, ended.reason) == (Status.FAILED, 3, Reason.EXIT_CODE)
    # What the program wrote stays its own, byte by byte.
    assert ended.stdout.content == "prepared in /workspace False True\n"
    assert ended.stderr.content_bytes() == bytes(range(256))
    assert sorted((ended.lines_before or "").splitlines()) == [
        f"[act_before] INFO:root:Starting execution {ended.execution_id} for program example",
        "[act_before] 🔧 Pre-execution actions completed",
    ]
    assert ended.lines_after == "[act_after] after example Temis 3 True\n"


@pytest.mark.parametrize(
    ("program", "fields", "status", "exit_code"),
    [
        ("print('well')", {}, Status.COMPLETED, 0),
        ("import os; os.kill(os.getpid(), 9)", {}, Status.FAILED, 137),
        ("import time; print('began', flush=True); time.sleep(60)", {"timeout_seconds": 1}, Status.TIMEOUT, 124),
        ("x = bytearray(10**9)", {"memory_limit": 64 * 1024**2}, Status.FAILED, 137),
    ],
)
async def test_act_after_hears_the_true_exit_code_also_after_a_kill_a_timeout_and_want_of_memory_h3(
    hub: MakeHub, program: str, fields: dict[str, Any], status: Status, exit_code: int
) -> None:
    around = hub(program, stop_grace_seconds=1, **fields)
    put_actions(around, None, AFTER)
    ended = await (killed_for_want_of_memory(lambda: run(around)) if "memory_limit" in fields else run(around))

    assert ended.status is status
    assert ended.lines_after == f"[act_after] after example None {exit_code} False\n"
    assert (ended.reason is Reason.OUT_OF_MEMORY) == ("memory_limit" in fields)


async def test_fault30_act_before_that_fails_keeps_the_program_away_h4(hub: MakeHub) -> None:
    around = hub("open('/workspace/ran', 'w')")
    put_actions(around, "raise SystemExit('no database')", AFTER)
    ended = await run(around)

    assert (ended.status, ended.reason) == (Status.FAILED, Reason.ACTION_FAILED)
    assert (ended.lines_before, ended.lines_after) == ("[act_before] no database\n", None)
    assert not (around.catalogues.current.project_dir / "example" / "ran").exists()


async def test_a_program_can_not_change_the_actions_h1(hub: MakeHub) -> None:
    around = hub("open('/project/actions/act_after.py', 'a')")
    put_actions(around, None, AFTER)
    ended = await run(around)

    assert "Read-only file system" in (ended.stderr.content or "")
    assert ended.lines_after == "[act_after] after example None 1 False\n"


async def test_an_image_without_python_runs_its_program_and_no_actions_h5(hub: MakeHub, small_image: str) -> None:
    around = hub(main_file="main.sh", docker_image=small_image)
    (around.catalogues.current.project_dir / "example" / "main.sh").write_text("echo done; cat")
    put_actions(around, BEFORE, AFTER)
    ended = await run(around)

    assert (ended.status, ended.stdout.content, ended.lines_after) == (Status.COMPLETED, "done\n", None)
    assert ended.lines_before == "[hub] no actions: they need sh and python, and the image lacks them\n"


async def test_an_image_without_a_shell_runs_its_program_and_no_actions_h5(hub: MakeHub, python_image: str) -> None:
    if not docker("images", "--quiet", SHELL_LESS):
        remove = "import os, glob; [os.remove(name) for name in ('/bin/sh', '/bin/bash', '/bin/dash') if os.path.lexists(name)]"
        lines = f'FROM {python_image}\nRUN ["python", "-c", "{remove}"]\n'
        docker("build", "--tag", SHELL_LESS, "-", stdin=lines)
    around = hub("print('done')", docker_image=SHELL_LESS)
    put_actions(around, BEFORE, AFTER)
    ended = await run(around)

    assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "done\n")
    assert ended.lines_before == "[hub] no actions: they need sh and python, and the image lacks them\n"


async def test_actions_run_around_the_own_command_of_an_image_that_holds_its_program_h1_r11(
    hub: MakeHub, python_image: str
) -> None:
    around = hub(docker_image=python_image)
    (around.catalogues.current.project_dir / "example" / "main.py").unlink()
    put_actions(around, None, AFTER)
    ended = await run(around)

    assert ended.stdout.content == "the image runs its own command\n"
    assert ended.lines_after == "[act_after] after example None 0 False\n"


async def test_a_missing_interpreter_is_told_with_actions_too_h3(hub: MakeHub) -> None:
    around = hub(main_file="main.js")
    (around.catalogues.current.project_dir / "example" / "main.js").touch()
    put_actions(around, None, AFTER)
    ended = await run(around)

    assert (ended.exit_code, ended.reason) == (127, Reason.START_FAILED)
    assert ended.lines_after == "[act_after] after example None 127 False\n"


async def test_long_output_of_a_program_between_actions_is_whole_h1_m5(hub: MakeHub) -> None:
    around = hub(
        textwrap.dedent("""
        import sys
        for number in range(40_000):
            print(number)
            print(-number, file=sys.stderr)
        """)
    )
    put_actions(around, BEFORE, AFTER)
    async with around.runner():
        execution_id = await around.submit()
        running = await around.is_running(execution_id)
        assert inspect(execution_id)["Id"] == running.container_id
        ended = await around.ended(execution_id)

    lines = [str(number) for number in range(40_000)]
    assert around.output(execution_id, StreamName.STDOUT).decode().splitlines() == lines
    assert around.output(execution_id, StreamName.STDERR).decode().splitlines() == ["0", *(f"-{line}" for line in lines[1:])]
    assert ended.lines_after == "[act_after] after example None 0 True\n"
