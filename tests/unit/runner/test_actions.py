"""The user's actions around a program, on a fake engine."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from runner.actions import find_actions
from runner.steps import Step
from schemas.events import Ended
from schemas.reasons import Category, Reason
from schemas.status import Status
from tests.support.runner_fixtures import Hub, make_hub


def with_actions(folder: Path, *names: str, **settings: Any) -> Hub:
    """A hub whose project has these actions."""
    hub = make_hub(folder, **settings)
    actions = hub.catalogues.current.project_dir / "actions"
    actions.mkdir()
    for name in names or ("act_before.py", "act_after.py"):
        (actions / name).touch()
    return hub


async def run(hub: Hub, **parameters: Any) -> tuple[str, Ended]:
    async with hub.runner():
        execution_id = await hub.submit(**parameters)
        return execution_id, await hub.ended(execution_id)


async def test_actions_run_around_the_program_and_what_they_print_has_a_prefix_h1_h6(tmp_path: Path) -> None:
    hub = with_actions(tmp_path)
    execution_id, ended = await run(hub, before_stdout="set up\n", stdout="the work", after_stdout="tidied\n", after_stderr="!")

    assert (ended.status, ended.exit_code, ended.stdout.content) == (Status.COMPLETED, 0, "the work")
    assert ended.lines_before == "[act_before] set up\n"
    assert sorted((ended.lines_after or "").splitlines()) == ["[act_after] !", "[act_after] tidied"]
    assert [event.status for event in hub.events(execution_id)] == [Status.RUNNING, Status.COMPLETED]
    assert hub.fake.containers == frozenset()


@pytest.mark.parametrize(
    ("parameters", "status", "exit_code"),
    [
        ({}, Status.COMPLETED, 0),
        ({"exit_code": 3}, Status.FAILED, 3),
        ({"oom": "main"}, Status.FAILED, 137),
        ({"sleep": 60}, Status.TIMEOUT, 124),
    ],
)
async def test_act_after_is_told_the_true_exit_code_h2_h3(
    tmp_path: Path, parameters: dict[str, Any], status: Status, exit_code: int
) -> None:
    hub = with_actions(tmp_path, "act_after.py", timeout_seconds=0.2, stop_grace_seconds=0.1)
    execution_id, ended = await run(hub, after_stdout="ran", **parameters)

    assert (ended.status, hub.fake.exit_codes[execution_id]) == (status, exit_code)
    assert (ended.lines_before, ended.lines_after) == (None, "[act_after] ran\n")


async def test_fault30_act_before_that_fails_keeps_the_program_from_running_h4(tmp_path: Path) -> None:
    hub = with_actions(tmp_path)
    execution_id, ended = await run(hub, before_exit_code=4, before_stderr="no database", stdout="the work")

    assert (ended.status, ended.reason, ended.category) == (Status.FAILED, Reason.ACTION_FAILED, Category.EXECUTION)
    assert ended.message == "act_before exited with code 4, so the program was not run."
    assert (ended.exit_code, ended.stdout.total_bytes, ended.lines_before) == (None, 0, "[act_before] no database\n")
    assert (hub.fake.starts[execution_id], hub.fake.exit_codes) == (0, {})


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"after_exit_code": 9}, "act_after exited with code 9"),
        ({"after_sleep": 60}, "act_after was stopped after 0.2 s"),
        ({"after_start_error": "start_failed"}, "act_after could not be run"),
    ],
)
async def test_fault30_act_after_never_changes_the_result_h4(tmp_path: Path, parameters: dict[str, Any], words: str) -> None:
    hub = with_actions(tmp_path, action_timeout_seconds=0.2, stop_grace_seconds=0.1)
    _, ended = await run(hub, stdout="the work", **parameters)

    assert (ended.status, ended.exit_code, ended.reason, ended.message) == (Status.COMPLETED, 0, None, None)
    assert f"[hub] {words}" in (ended.lines_after or "")


async def test_fault30_an_action_that_hangs_is_stopped_at_its_own_limit_h4(tmp_path: Path) -> None:
    hub = with_actions(tmp_path, "act_before.py", action_timeout_seconds=0.2, stop_grace_seconds=0.1)
    _, ended = await run(hub, before_sleep=60)

    assert (ended.reason, ended.message) == (
        Reason.ACTION_FAILED,
        "act_before did not end within 0.2 s (action_timeout_seconds), so the program was not run.",
    )


_BEFORE: dict[str, dict[str, Any]] = {
    "ends well": {},
    "hangs": {"before_sleep": 60},
    "fails": {"before_exit_code": 4},
    "is killed": {"before_oom": "main"},
}
_PROGRAM: dict[str, tuple[dict[str, Any], Status, int]] = {
    "ends well": ({}, Status.COMPLETED, 0),
    "fails": ({"exit_code": 3}, Status.FAILED, 3),
    "hangs": ({"sleep": 60}, Status.TIMEOUT, 143),
    "is killed": ({"oom": "main"}, Status.FAILED, 137),
}
_AFTER: dict[str, dict[str, Any]] = {
    "ends well": {},
    "hangs": {"after_sleep": 60},
    "fails": {"after_exit_code": 9},
    "is killed": {"after_oom": "main"},
}


async def test_fault30_whatever_the_actions_do_the_program_ends_as_it_does_and_never_runs_after_one_that_failed_h4(
    tmp_path: Path,
) -> None:
    hub = with_actions(
        tmp_path, max_concurrent_executions=64, action_timeout_seconds=0.3, timeout_seconds=0.3, stop_grace_seconds=0.1
    )
    async with hub.runner():
        ids = {
            case: await hub.submit(
                stdout="the work", after_stdout="tidied\n", **_BEFORE[case[0]], **_PROGRAM[case[1]][0], **_AFTER[case[2]]
            )
            for case in itertools.product(_BEFORE, _PROGRAM, _AFTER)
        }
        ended = {case: await hub.ended(execution_id) for case, execution_id in ids.items()}

    assert len(ended) == 64
    for case, (before, program, after) in zip(ended, ended, strict=True):
        end = ended[case]
        if before == "ends well":
            _, status, exit_code = _PROGRAM[program]
            assert (end.status, end.exit_code, end.stdout.content) == (status, exit_code, "the work"), case
            assert (hub.fake.starts[ids[case]], hub.fake.steps_of(ids[case])) == (1, []), case
            # Whatever it does after that, it ran once.
            assert (end.lines_after or "").count("[act_after] tidied") == 1, case
            assert ("[hub] act_after" in (end.lines_after or "")) == (after != "ends well"), case
        else:
            assert (end.status, end.reason, end.exit_code) == (Status.FAILED, Reason.ACTION_FAILED, None), case
            assert (hub.fake.starts[ids[case]], end.stdout.total_bytes, end.lines_after) == (0, 0, None), case


async def test_without_python_in_the_image_there_are_no_actions_and_a_line_says_so_h5(tmp_path: Path) -> None:
    hub = with_actions(tmp_path)
    _, ended = await run(hub, no_python="true", stdout="the work")

    assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "the work")
    assert ended.lines_before == "[hub] no actions: they need sh and python, and the image lacks them\n"
    assert (ended.lines_after, hub.fake.exit_codes) == (None, {})


async def test_a_runner_that_stops_during_act_before_lets_go_and_the_next_life_runs_the_program_m26(tmp_path: Path) -> None:
    hub = with_actions(tmp_path)
    async with hub.runner(stop_limit_seconds=0.1):
        execution_id = await hub.submit(before_sleep=1, stdout="the work")
        await hub.is_running(execution_id)
    assert (hub.fake.running, hub.fake.starts[execution_id]) == (1, 0)
    async with hub.runner():
        ended = await hub.ended(execution_id)

    assert (ended.status, ended.stdout.content, hub.fake.starts[execution_id]) == (Status.COMPLETED, "the work", 1)


def test_only_files_by_the_two_names_are_actions_h1(tmp_path: Path) -> None:
    assert find_actions(tmp_path) == frozenset()
    (tmp_path / "actions" / "act_after.py").mkdir(parents=True)
    (tmp_path / "actions" / "helper.py").touch()
    assert find_actions(tmp_path) == frozenset()
    (tmp_path / "actions" / "act_before.py").touch()
    assert find_actions(tmp_path) == {Step.BEFORE}
