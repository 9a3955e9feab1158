import json
from dataclasses import replace

import pytest

from runner.container_config import CA_BUNDLE, ImageCommand, create_body, order
from runner.run_spec import RunSpec
from runner.steps import Step
from schemas.programs import Network

SPEC = RunSpec(
    execution_id="01a20afb-890e-728b-8a27-c7e1c8c72c78",
    attempt=1,
    program_id="example",
    image="python:3.11",
    argv=("python", "main.py", "--verbose"),
    env={"PROGRAM_ID": "example", "PARAM_A": "x=y"},
    host_folder="/srv/hub/example",
    memory_bytes=512 * 1024**2,
    nano_cpus=500_000_000,
    pids_limit=64,
    timeout_seconds=300,
    stop_grace_seconds=10,
    action_timeout_seconds=60,
    labels={"io.pyexecutorhub.managed": "true"},
)

GOLDEN = """
{
  "Image": "python:3.11",
  "Entrypoint": [""],
  "Cmd": ["python", "main.py", "--verbose"],
  "WorkingDir": "/workspace",
  "Env": ["PROGRAM_ID=example", "PARAM_A=x=y"],
  "Labels": {"io.pyexecutorhub.managed": "true"},
  "Tty": false,
  "OpenStdin": false,
  "StdinOnce": false,
  "AttachStdin": false,
  "AttachStdout": true,
  "AttachStderr": true,
  "StopSignal": "SIGTERM",
  "HostConfig": {
    "Mounts": [{"Type": "bind", "Source": "/srv/hub/example", "Target": "/workspace", "ReadOnly": false}],
    "Memory": 536870912,
    "MemorySwap": 536870912,
    "NanoCpus": 500000000,
    "PidsLimit": 64,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "Privileged": false,
    "NetworkMode": "bridge",
    "IpcMode": "private",
    "Ulimits": [{"Name": "nofile", "Soft": 1024, "Hard": 1024}, {"Name": "core", "Soft": 0, "Hard": 0}],
    "Init": true,
    "AutoRemove": false,
    "RestartPolicy": {"Name": "no"},
    "LogConfig": {"Type": "local", "Config": {"max-size": "16m", "max-file": "2", "compress": "false"}}
  }
}
"""


def test_the_whole_body_is_this_m13() -> None:
    assert create_body(SPEC, ImageCommand()) == json.loads(GOLDEN)


def test_a_program_without_a_network_has_none_and_all_else_is_the_same() -> None:
    body = create_body(replace(SPEC, network=Network.NONE), ImageCommand())
    assert body["HostConfig"].pop("NetworkMode") == "none"
    expected = json.loads(GOLDEN)
    del expected["HostConfig"]["NetworkMode"]
    assert body == expected


@pytest.mark.parametrize(
    ("image", "arguments", "command"),
    [
        (ImageCommand(command=["serve"]), (), {}),
        (ImageCommand(entrypoint=["tool"], command=["--help"]), (), {}),
        (ImageCommand(command=["python", "/app/x.py"]), ("--a", "b"), {"Cmd": ["python", "/app/x.py", "--a", "b"]}),
        (ImageCommand(entrypoint=["tool"], command=["--help"]), ("run",), {"Cmd": ["run"]}),
    ],
)
def test_an_image_s_own_command_keeps_its_entrypoint_and_its_working_directory_r11(
    image: ImageCommand, arguments: tuple[str, ...], command: dict[str, list[str]]
) -> None:
    body = create_body(replace(SPEC, argv=None, arguments=arguments), image)
    assert {key: body[key] for key in ("Entrypoint", "Cmd", "WorkingDir") if key in body} == command


def test_a_file_s_command_clears_the_image_s_entrypoint_r10() -> None:
    body = create_body(SPEC, ImageCommand(entrypoint=["/entry.sh"], command=["x"]))
    assert (body["Entrypoint"], body["Cmd"]) == ([""], ["python", "main.py", "--verbose"])


def test_the_owner_of_the_folder_runs_the_program_unless_the_image_names_somebody() -> None:
    owned = replace(SPEC, user="1000:100", env={"A": "b"})

    body = create_body(owned, ImageCommand())

    assert (body["User"], body["Env"]) == ("1000:100", ["HOME=/tmp", "A=b"])
    assert create_body(replace(owned, env={"HOME": "/workspace"}), ImageCommand())["Env"] == ["HOME=/workspace"]
    # The image's own user keeps its own home.
    image_user = create_body(owned, ImageCommand(user="app"))
    assert "User" not in image_user
    assert image_user["Env"] == ["A=b"]


def test_a_shell_program_is_started_by_a_fixed_text_that_takes_bash_where_there_is_one_r5() -> None:
    command = create_body(replace(SPEC, argv=("bash", "a b.sh", "$(id)")), ImageCommand())["Cmd"]

    assert command[:2] == ["sh", "-c"]
    assert command[3:] == ["sh", "a b.sh", "$(id)"]
    assert "a b" not in command[2]


WITH_ACTIONS = replace(SPEC, actions=frozenset({Step.BEFORE, Step.AFTER}), host_actions="/srv/hub/actions")


def test_with_actions_an_agent_waits_for_orders_and_the_program_is_what_follows_it_h1() -> None:
    body = create_body(WITH_ACTIONS, ImageCommand(entrypoint=["tool"], command=["--help"]))
    assert (body["Entrypoint"], body["Cmd"][:2]) == ([""], ["sh", "-c"])
    assert body["Cmd"][3:] == ["sh", "python", "main.py", "--verbose"]
    assert (body["OpenStdin"], body["StdinOnce"], body["AttachStdin"]) == (True, True, True)
    assert body["HostConfig"]["Mounts"][1:] == [
        {"Type": "bind", "Source": "/srv/hub/actions", "Target": "/project/actions", "ReadOnly": True}
    ]
    assert order(Step.AFTER, 3) == b"act_after 3\n"


@pytest.mark.parametrize(
    ("image", "arguments", "argv"),
    [
        (ImageCommand(command=["serve"]), (), ["serve"]),
        (ImageCommand(command=["serve"]), ("--fast",), ["serve", "--fast"]),
        (ImageCommand(entrypoint=["tool"], command=["--help"]), (), ["tool", "--help"]),
        (ImageCommand(entrypoint=["tool"], command=["--help"]), ("--fast",), ["tool", "--fast"]),
    ],
)
def test_with_actions_an_image_that_holds_its_program_still_runs_its_own_command_h1_r11(
    image: ImageCommand, arguments: tuple[str, ...], argv: list[str]
) -> None:
    body = create_body(replace(WITH_ACTIONS, argv=None, arguments=arguments), image)
    assert body["Cmd"][4:] == argv
    assert "WorkingDir" not in body


def test_certificates_are_mounted_and_named_where_there_are_some_and_the_programs_own_win() -> None:
    body = create_body(replace(SPEC, host_ca_bundle="/host/ca.pem", env={"PIP_CERT": "/own"}), ImageCommand())

    *_, mounted = body["HostConfig"]["Mounts"]
    assert (mounted["Source"], mounted["Target"], mounted["ReadOnly"]) == ("/host/ca.pem", CA_BUNDLE, True)
    assert sorted(body["Env"]) == ["PIP_CERT=/own", f"REQUESTS_CA_BUNDLE={CA_BUNDLE}", f"SSL_CERT_FILE={CA_BUNDLE}"]


def test_a_program_runs_in_the_image_that_was_made_from_its_own_m36() -> None:
    body = create_body(SPEC, ImageCommand(create_from="pyexecutorhub-env:1"))

    assert body["Image"] == "pyexecutorhub-env:1"


def test_a_container_of_an_image_that_compose_built_is_none_of_that_projects() -> None:
    image = ImageCommand(labels=("com.docker.compose.project", "maintainer", "io.pyexecutorhub.managed"))
    assert create_body(SPEC, image)["Labels"] == {"com.docker.compose.project": "", "io.pyexecutorhub.managed": "true"}
