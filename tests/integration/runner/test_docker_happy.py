"""Programs on the real Docker engine, from the command to the terminal event."""

from schemas.output import StreamName
from schemas.reasons import Reason
from schemas.status import Status
from tests.integration.runner.conftest import COLD_AND_WARM, MakeHub
from tests.support.docker import containers

pytestmark = COLD_AND_WARM


async def test_a_program_runs_in_a_fresh_container_with_its_variables_r1_r2_e4(hub: MakeHub) -> None:
    around = hub(
        """
        import os, sys
        print(os.getcwd(), os.environ["PROGRAM_ID"], os.environ["EXECUTION_ID"], os.environ["PARAM_MY_KEY"], sys.argv[1:])
        print(os.path.exists("/.dockerenv"), file=sys.stderr)
        """,
        parameters="--process 'proceso 2' --verbose",
    )
    async with around.runner():
        execution_id = await around.submit("example", **{"my-key": {"a": [1, None]}})
        ended = await around.ended(execution_id)

    assert ended.status is Status.COMPLETED
    assert ended.exit_code == 0
    expected = f"/workspace example {execution_id} {{\"a\": [1, null]}} ['--process', 'proceso 2', '--verbose']\n"
    assert ended.stdout.content == expected
    assert ended.stderr.content == "True\n"
    assert [event.status for event in around.events(execution_id)] == [Status.RUNNING, Status.COMPLETED]
    assert containers(execution_id=execution_id) == []


async def test_the_exit_code_of_a_failing_program_is_recorded_r16(hub: MakeHub) -> None:
    around = hub("raise SystemExit(3)")
    async with around.runner():
        ended = await around.ended(await around.submit())

    assert (ended.status, ended.reason, ended.exit_code) == (Status.FAILED, Reason.EXIT_CODE, 3)
    assert ended.message == "Program exited with code 3"


async def test_fault28_at_the_time_limit_a_program_that_ignores_sigterm_is_killed_and_its_output_kept_r17(hub: MakeHub) -> None:
    around = hub(
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
        print("before", flush=True)
        time.sleep(60)
        time.sleep(60)
        """,
        timeout_seconds=1.0,
        stop_grace_seconds=1.0,
    )
    async with around.runner():
        execution_id = await around.submit()
        ended = await around.ended(execution_id)

    assert (ended.status, ended.reason, ended.exit_code) == (Status.TIMEOUT, Reason.TIMEOUT, 137)
    assert ended.message == "Execution exceeded time limit"
    assert ended.started_at is not None
    assert 2.0 <= (ended.ended_at - ended.started_at).total_seconds() < 10.0
    assert ended.stdout.content == "before\nno\n"
    assert containers(execution_id=execution_id) == []


async def test_fault20_t8_all_byte_values_and_five_mebibytes_arrive_exactly(hub: MakeHub) -> None:
    around = hub(
        """
        import sys
        sys.stderr.buffer.write(bytes(range(256)))
        for block in range(5 * 1024):
            sys.stdout.buffer.write(bytes((block + i) % 256 for i in range(1024)))
        """
    )
    async with around.runner():
        execution_id = await around.submit()
        ended = await around.ended(execution_id)

    expected = b"".join(bytes((block + i) % 256 for i in range(1024)) for block in range(5 * 1024))
    assert around.output(execution_id, StreamName.STDOUT) == expected
    assert around.output(execution_id, StreamName.STDERR) == bytes(range(256))
    assert (ended.stdout.total_bytes, ended.stdout.kept_bytes, ended.stdout.truncated) == (len(expected), len(expected), False)


async def test_fault20_short_output_is_unaltered_e14(hub: MakeHub) -> None:
    around = hub(r"""print(r"C:\new\table", flush=True); import sys; sys.stdout.buffer.write(bytes(range(256)))""")
    async with around.runner():
        ended = await around.ended(await around.submit())

    assert ended.stdout.content_bytes() == b"C:\\new\\table\n" + bytes(range(256))
    assert ended.stdout.encoding == "base64"


async def test_twenty_very_short_programs_each_give_their_full_output_m5(hub: MakeHub) -> None:
    around = hub("import os; print(os.environ['PARAM_N'] * 1000)", settings={"max_concurrent_executions": 5})
    async with around.runner():
        ids = [await around.submit(n=str(number)) for number in range(20)]
        endings = [await around.ended(execution_id, within_seconds=60) for execution_id in ids]

    assert [ended.stdout.content for ended in endings] == [str(number) * 1000 + "\n" for number in range(20)]
    assert all(ended.status is Status.COMPLETED for ended in endings)


async def test_an_image_that_bakes_its_program_runs_its_own_command_r11(hub: MakeHub, python_image: str) -> None:
    around = hub(docker_image=python_image, main_file="absent.py")
    async with around.runner():
        ended = await around.ended(await around.submit())

    assert ended.stdout.content == "the image runs its own command\n"


async def test_a_named_main_file_runs_in_a_custom_image_and_a_missing_one_is_found_in_the_default_r8_r10_b5_b6(
    hub: MakeHub, python_image: str
) -> None:
    for fields in ({"docker_image": python_image}, {"main_file": "start.py"}):
        around = hub("print('main.py of the folder')", **fields)
        async with around.runner():
            ended = await around.ended(await around.submit())

        assert ended.stdout.content == "main.py of the folder\n"
