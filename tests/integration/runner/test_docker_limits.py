"""What a container may use and may do, as Docker has it and as the program meets it."""

import os

import pytest

from runner import labels
from schemas.reasons import Reason
from schemas.status import Status
from tests.integration.runner.conftest import COLD_AND_WARM, MakeHub, killed_for_want_of_memory
from tests.support.docker import inspect

pytestmark = COLD_AND_WARM


async def test_t6_docker_applies_the_limits_and_the_hardened_defaults_p12_p13_m13(hub: MakeHub) -> None:
    around = hub("import time; time.sleep(60)", memory_limit="96m", cpu_limit="0.25", pids_limit=33, timeout_seconds=50)
    async with around.runner(stop_limit_seconds=0):
        execution_id = await around.submit()
        running = await around.is_running(execution_id)
        seen = inspect(execution_id)

    host = seen["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        96 * 1024**2,
        96 * 1024**2,
        250_000_000,
        33,
    )
    assert (host["CapDrop"], host["CapAdd"], host["SecurityOpt"]) == (["ALL"], None, ["no-new-privileges"])
    assert (host["Privileged"], host["Init"], host["IpcMode"], host["AutoRemove"]) == (False, True, "private", False)
    assert (host["NetworkMode"], host["PidMode"], host["UTSMode"], host["UsernsMode"]) == ("bridge", "", "", "")
    assert {limit["Name"]: limit["Hard"] for limit in host["Ulimits"]} == {"nofile": 1024, "core": 0}
    assert host["LogConfig"]["Type"] == "local"
    assert host["LogConfig"]["Config"]["max-size"]
    assert [(mount["Source"], mount["Destination"], mount["RW"]) for mount in seen["Mounts"]] == [
        (str(around.catalogues.current.project_dir / "example"), "/workspace", True)
    ]
    assert not seen["Config"]["Tty"]
    is_warm = labels.WARM in seen["Config"]["Labels"]
    assert (seen["Config"]["OpenStdin"], seen["Config"]["StdinOnce"]) == (is_warm, is_warm)
    assert seen["Id"] == running.container_id
    ours = {name: value for name, value in seen["Config"]["Labels"].items() if name.startswith(labels.PREFIX)}
    always = {labels.MANAGED, labels.INSTANCE, labels.RUNNER_ID, labels.EPOCH, labels.PROGRAM_ID, labels.IMAGE}
    # One that was kept warm is older than its execution, whose name it has.
    own = {labels.WARM} if is_warm else {labels.EXECUTION_ID, labels.ATTEMPT, labels.DEADLINE}
    assert ours.keys() == always | own
    assert (seen["Name"], ours[labels.PROGRAM_ID]) == (f"/{execution_id}", "example")
    assert is_warm or (ours[labels.EXECUTION_ID], ours[labels.ATTEMPT]) == (execution_id, "1")


async def test_the_kernel_holds_the_program_to_its_capabilities_and_its_memory_p12(hub: MakeHub) -> None:
    around = hub(
        """
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        print(status["CapEff"].strip(), status["CapBnd"].strip(), status["NoNewPrivs"].strip(), status["Seccomp"].strip())
        """
    )
    async with around.runner():
        ended = await around.ended(await around.submit())

    assert ended.stdout.content == "0000000000000000 0000000000000000 1 2\n"


async def test_fault17_t10_a_program_killed_for_want_of_memory_fails_with_its_limit_named_v3(hub: MakeHub) -> None:
    around = hub("print('start', flush=True); x = bytearray(300 * 1024 * 1024); print(len(x))", memory_limit="64m")
    async with around.runner():
        ended = await killed_for_want_of_memory(around.run)

    assert (ended.status, ended.reason, ended.exit_code, ended.oom_killed) == (Status.FAILED, Reason.OUT_OF_MEMORY, 137, True)
    assert "64m" in (ended.message or "")
    assert ended.stdout.content == "start\n"


@pytest.mark.parametrize(
    ("then", "status", "reason", "exit_code"),
    [("", Status.COMPLETED, None, 0), ("; raise SystemExit(3)", Status.FAILED, Reason.EXIT_CODE, 3)],
)
async def test_fault17_t10_a_child_killed_for_want_of_memory_leaves_the_exit_code_as_it_is(
    hub: MakeHub, then: str, status: Status, reason: Reason | None, exit_code: int
) -> None:
    around = hub(
        f"""
        import os, time
        if os.fork() == 0:
            x = bytearray(300 * 1024 * 1024)
            os._exit(0)
        _, status = os.wait()
        time.sleep(1)  # word of the kill goes a way of its own
        print(os.waitstatus_to_exitcode(status)){then}
        """,
        memory_limit="64m",
    )
    async with around.runner():
        ended = await killed_for_want_of_memory(around.run)

    assert ended.stdout.content == "-9\n"
    assert (ended.status, ended.reason, ended.exit_code, ended.oom_killed) == (status, reason, exit_code, True)


async def test_fault17_t10_a_program_that_was_killed_by_somebody_did_not_run_out_of_memory(hub: MakeHub) -> None:
    around = hub("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", memory_limit="64m")
    async with around.runner():
        ended = await around.ended(await around.submit())

    assert (ended.status, ended.reason, ended.exit_code, ended.oom_killed) == (Status.FAILED, Reason.EXIT_CODE, 137, False)


async def test_a_program_in_somebodys_folder_reads_and_writes_there_as_that_somebody(hub: MakeHub) -> None:
    around = hub(
        """
        import os
        print(os.getuid(), os.getgid(), os.environ["HOME"], open("private").read())
        open("written", "w").write("beside itself")
        """
    )
    folder = around.catalogues.current.project_dir / "example"
    (folder / "private").write_text("mine")
    (folder / "private").chmod(0o600)
    for path in (folder, *folder.iterdir()):
        os.chown(path, 1234, 567)
    async with around.runner():
        ended = await around.ended(await around.submit())

    assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "1234 567 /tmp mine\n")
    assert (folder / "written").stat().st_uid == 1234
