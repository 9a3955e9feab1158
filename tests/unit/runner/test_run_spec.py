from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runner import labels
from runner.errors import CannotRun
from runner.identity import Identity
from runner.program_files import ProgramFiles
from runner.run_spec import HostPaths, Owner, RunSpec, container_name, plan
from schemas.programs import Network
from schemas.reasons import Reason
from schemas.settings import ProgramSettings
from tests.support.runner_fixtures import make_program

PROJECT = Path("/project")
EXECUTION_ID = "01a20afb-890e-728b-8a27-c7e1c8c72c78"


def make(
    *,
    main_file_exists: bool = True,
    alternative: str | None = None,
    env: dict[str, str] | None = None,
    folder: Path = PROJECT / "example",
    parameters: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    host: str = "/home/ann/hub",
    attempt: int = 1,
    **fields: Any,
) -> RunSpec:
    return plan(
        make_program(**fields),
        ProgramSettings(**(settings or {})),
        ProgramFiles(folder=folder, main_file_exists=main_file_exists, alternative=alternative, env=env or {}),
        execution_id=EXECUTION_ID,
        attempt=attempt,
        parameters=parameters or {},
        paths=HostPaths(PROJECT, Path(host)),
        owner=Owner(Identity("inst", "run"), "epoch"),
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("main_file", "interpreter"),
    [("main.py", "python"), ("a/run.js", "node"), ("x.sh", "bash"), ("x.SH", "bash"), ("x.rb", "python"), ("x", "python")],
)
def test_the_ending_of_the_file_chooses_the_interpreter_r5_r7(main_file: str, interpreter: str) -> None:
    assert make(main_file=main_file, parameters=None).argv == (interpreter, main_file)


def test_configured_parameters_are_split_as_a_shell_would_and_run_by_none_r6() -> None:
    spec = make(parameters=None)
    assert spec.argv == ("python", "main.py")
    program = make_program(parameters="--process 'proceso 2' --verbose $(id) ; rm")
    argv = plan_of(program).argv
    assert argv == ("python", "main.py", "--process", "proceso 2", "--verbose", "$(id)", ";", "rm")


def plan_of(program: Any) -> RunSpec:
    return plan(
        program,
        ProgramSettings(),
        ProgramFiles(folder=PROJECT / "example", main_file_exists=True),
        execution_id=EXECUTION_ID,
        attempt=1,
        parameters={},
        paths=HostPaths(PROJECT, PROJECT),
        owner=Owner(Identity("inst", "run"), "epoch"),
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize("parameters", ["'open", "a\0b"])
def test_parameters_that_can_not_be_split_are_refused(parameters: str) -> None:
    with pytest.raises(CannotRun) as caught:
        plan_of(make_program(parameters=parameters))
    assert caught.value.reason is Reason.INVALID_PARAMETERS


def test_in_the_default_image_the_first_alternative_is_run_r8() -> None:
    assert make(main_file_exists=False, alternative="run.py").argv == ("python", "run.py")


def test_in_the_default_image_no_file_at_all_is_an_error_r9() -> None:
    with pytest.raises(CannotRun) as caught:
        make(main_file_exists=False, main_file="bot.py", path="bots/x")
    assert caught.value.reason is Reason.MAIN_FILE_NOT_FOUND
    assert caught.value.message == (
        "Main program file 'bot.py' not found in bots/x. Please ensure the file exists or update the configuration."
    )


def test_a_custom_image_runs_the_file_if_it_is_there_and_its_own_command_if_not_r10_r11() -> None:
    assert make(docker_image="python:3.11").argv == ("python", "main.py")
    baked = make(docker_image="python:3.11", main_file_exists=False, alternative="run.py")
    assert (baked.argv, baked.arguments) == (None, ())


def test_an_invalid_image_name_is_refused_r13() -> None:
    with pytest.raises(CannotRun) as caught:
        make(docker_image="Not An Image")
    assert caught.value.reason is Reason.IMAGE_INVALID


def test_parameters_become_variables_e4() -> None:
    parameters = {"my-key": "as is\n", "flag": True, "none": None, "n": 1.5, "nested": {"ä": [1, None]}, "ñ": ""}
    env = make(parameters=parameters).env
    assert env == {
        "PARAM_MY_KEY": "as is\n",
        "PARAM_FLAG": "true",
        "PARAM_NONE": "null",
        "PARAM_N": "1.5",
        "PARAM_NESTED": '{"ä": [1, null]}',
        "PARAM__": "",
        "PROGRAM_ID": "example",
        "EXECUTION_ID": EXECUTION_ID,
        "EXECUTION_ATTEMPT": "1",
    }


def test_nothing_can_take_the_place_of_the_hub_s_own_variables_r2() -> None:
    file = {"PROGRAM_ID": "x", "EXECUTION_ID": "y", "EXECUTION_ATTEMPT": "9", "PARAM_A": "file", "B": "2"}
    env = make(env=file, parameters={"a": "request"}).env
    own = {"PROGRAM_ID": "example", "EXECUTION_ID": EXECUTION_ID, "EXECUTION_ATTEMPT": "1"}
    assert env == own | {"PARAM_A": "request", "B": "2"}


@pytest.mark.parametrize(
    "parameters", [{"a": "x\0y"}, {"a-b": 1, "a_b": 2}, {"a": float("inf")}, {"a": "x" * 128 * 1024}, {"a": "\ud800"}]
)
def test_parameters_that_can_not_be_passed_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(CannotRun) as caught:
        make(parameters=parameters)
    assert caught.value.reason is Reason.INVALID_PARAMETERS


def test_the_folder_is_named_as_the_engine_s_host_sees_it_p18() -> None:
    assert make().host_folder == "/home/ann/hub/example"
    assert make(folder=Path("/opt/external")).host_folder == "/opt/external"
    assert make(folder=Path("/projectile/x")).host_folder == "/projectile/x"


def test_a_program_s_own_limits_go_before_the_settings_p12_p13() -> None:
    settings = {"memory_limit": "2g", "cpu_limit": 2, "pids_limit": 9, "timeout_seconds": 7, "stop_grace_seconds": 3}
    theirs = make(settings=settings)
    assert (theirs.memory_bytes, theirs.nano_cpus, theirs.pids_limit) == (2 * 1024**3, 2_000_000_000, 9)
    assert (theirs.timeout_seconds, theirs.stop_grace_seconds) == (7, 3)
    own = make(settings=settings, memory_limit="64m", cpu_limit="0.5", pids_limit=5, timeout_seconds="1m", stop_grace_seconds=1)
    assert (own.memory_bytes, own.nano_cpus, own.pids_limit) == (64 * 1024**2, 500_000_000, 5)
    assert (own.timeout_seconds, own.stop_grace_seconds) == (60, 1)


def test_a_program_s_own_network_goes_before_that_of_the_settings() -> None:
    assert make().network is Network.BRIDGE
    assert make(settings={"network": "none"}).network is Network.NONE
    assert make(settings={"network": "none"}, network="bridge").network is Network.BRIDGE


def test_the_labels_say_whose_it_is_and_what_for_m45() -> None:
    assert make(timeout_seconds=90, docker_image="registry:5000/team/app").labels == {
        labels.MANAGED: "true",
        labels.INSTANCE: "inst",
        labels.RUNNER_ID: "run",
        labels.EXECUTION_ID: EXECUTION_ID,
        labels.ATTEMPT: "1",
        labels.EPOCH: "epoch",
        labels.PROGRAM_ID: "example",
        labels.IMAGE: "pyexecutorhub-base",
        labels.DEADLINE: "2026-01-01T00:01:30+00:00",
        labels.IMAGE: "registry:5000/team/app",
    }


def test_the_container_is_named_after_the_attempt() -> None:
    assert make().name == EXECUTION_ID
    assert container_name("x", 2) == "x.2"


def test_a_specification_shows_no_variable() -> None:
    assert "hidden-value" not in repr(make(env={"KEY": "hidden-value"}))
