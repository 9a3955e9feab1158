import pytest

from runner.endings import Interruption, not_let_run, ran, size
from runner.engine import Exit
from schemas.reasons import Reason
from schemas.status import Status

TINI = b"[FATAL tini (7)] exec node failed: No such file or directory\n"


@pytest.mark.parametrize(
    ("exit_", "stderr", "status", "reason"),
    [
        (Exit(0), b"", Status.COMPLETED, None),
        (Exit(0, oom_killed=True), b"", Status.COMPLETED, None),
        (Exit(3), b"", Status.FAILED, Reason.EXIT_CODE),
        (Exit(1, oom_killed=True), b"", Status.FAILED, Reason.EXIT_CODE),
        (Exit(137), b"", Status.FAILED, Reason.EXIT_CODE),
        (Exit(137, oom_killed=True), b"", Status.FAILED, Reason.OUT_OF_MEMORY),
        (Exit(127), TINI, Status.FAILED, Reason.START_FAILED),
        (Exit(127), b"sh: 9: exec: node: not found\n", Status.FAILED, Reason.START_FAILED),
        (Exit(127), b"sh: exec: line 9: node: not found\n", Status.FAILED, Reason.START_FAILED),
        (Exit(127), b"main.sh: 3: exec: x: not found\n", Status.FAILED, Reason.EXIT_CODE),
        (Exit(127), b"bash: x: command not found\n", Status.FAILED, Reason.EXIT_CODE),
        (Exit(127), b"something before\n" + TINI, Status.FAILED, Reason.EXIT_CODE),
        (Exit(127), None, Status.FAILED, Reason.EXIT_CODE),
        (Exit(1), TINI, Status.FAILED, Reason.EXIT_CODE),
        (None, b"", Status.FAILED, Reason.INTERNAL),
    ],
)
def test_what_an_exit_means_r16_t10(exit_: Exit | None, stderr: bytes | None, status: Status, reason: Reason | None) -> None:
    ending = ran(exit_, interruption=None, memory_bytes=64 * 1024**2, stderr=stderr)
    assert (ending.status, ending.reason) == (status, reason)
    if exit_ is not None:
        assert (ending.exit_code, ending.oom_killed) == (exit_.code, exit_.oom_killed)


@pytest.mark.parametrize("code", [0, 143, 137])
def test_what_the_runner_stopped_at_the_time_limit_is_a_timeout_whatever_its_exit_code_r17(code: int) -> None:
    ending = ran(Exit(code), interruption=Interruption.TIME_LIMIT, memory_bytes=1, stderr=b"")
    assert (ending.status, ending.reason, ending.message) == (Status.TIMEOUT, Reason.TIMEOUT, "Execution exceeded time limit")
    assert ending.exit_code == code


@pytest.mark.parametrize(
    ("count", "text"), [(512 * 1024**2, "512m"), (1024**3, "1g"), (1536 * 1024**2, "1536m"), (1000, "1000"), (2048, "2k")]
)
def test_sizes_are_written_as_the_configuration_writes_them(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("exit_", "interruption", "reason", "words"),
    [
        (Exit(3), None, Reason.ACTION_FAILED, "exited with code 3"),
        (Exit(137, oom_killed=True), None, Reason.ACTION_FAILED, "ran out of memory"),
        (None, None, Reason.ACTION_FAILED, "lost its container"),
        (Exit(143), Interruption.TIME_LIMIT, Reason.ACTION_FAILED, "did not end within 1.5 s"),
        (Exit(0), Interruption.TIME_LIMIT, Reason.ACTION_FAILED, "did not end within 1.5 s"),
    ],
)
def test_what_keeps_a_program_from_running_h4(
    exit_: Exit | None, interruption: Interruption | None, reason: Reason, words: str
) -> None:
    ending = not_let_run(exit_, interruption=interruption, limit_seconds=1.5)
    assert ending is not None
    assert (ending.status, ending.reason, ending.exit_code) == (Status.FAILED, reason, None)
    assert words in (ending.message or "")


def test_a_program_may_run_after_an_action_that_ended_well_h4() -> None:
    assert not_let_run(Exit(0), interruption=None, limit_seconds=1) is None


def test_the_service_whose_end_it_is_is_named_k10() -> None:
    out_of_memory = Exit(137, oom_killed=True, service="db", memory_bytes=32 * 1024**2)
    unhealthy = Exit(1, service="app", failure="Service 'db' did not become healthy, so service 'app' was not started")
    endings = [
        ran(exit_, interruption=None, memory_bytes=1024**3, stderr=b"")
        for exit_ in (Exit(7, service="app"), out_of_memory, unhealthy)
    ]
    assert [(ending.reason, ending.exit_code, ending.message) for ending in endings] == [
        (Reason.EXIT_CODE, 7, "Service 'app' exited with code 7"),
        (Reason.OUT_OF_MEMORY, 137, "Service 'db' ran out of memory: its limit is 32m (memory_limit)"),
        (Reason.START_FAILED, 1, unhealthy.failure),
    ]
