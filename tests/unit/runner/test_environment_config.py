"""What Docker is asked for when requirements are installed, and what becomes of old environments."""

import io
import tarfile
from dataclasses import replace

import pytest

from runner import labels
from runner.container_config import CA_BUNDLE, ImageCommand
from runner.docker_environments import to_remove
from runner.environment_config import archive, builder_body, environment_name, image_config
from runner.identity import Identity
from runner.install_errors import install_timed_out, pip_failed
from runner.requirement_files import RequirementFiles
from runner.requirements import Requirements, requirements_of
from runner.run_spec import RunSpec
from schemas.programs import Network
from schemas.reasons import Category, Reason
from tests.unit.runner.test_container_config import SPEC

IDENTITY = Identity("hub", "runner")
IMAGE = ImageCommand(entrypoint=("python",), command=("-V",), user="app", image_id="sha256:1")


def wanted(folder_state: str | None = None, **env: str) -> Requirements:
    files = RequirementFiles({"requirements.txt": b"six\n"}, folder_state=folder_state)
    made = requirements_of(files, None, env, 60.0)
    assert made is not None
    return made


def spec(ca_bundle: str | None = None) -> RunSpec:
    return replace(SPEC, host_folder="/host/p", host_ca_bundle=ca_bundle)


def names_in(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]


def test_an_environment_is_named_by_the_hub_the_image_and_what_is_wanted() -> None:
    name = environment_name(IDENTITY, IMAGE, wanted())
    others = {
        environment_name(Identity("other", "runner"), IMAGE, wanted()),
        environment_name(IDENTITY, ImageCommand(image_id="sha256:2"), wanted()),
        environment_name(IDENTITY, IMAGE, wanted(PIP_INDEX_URL="x")),
    }

    assert name.startswith("pyexecutorhub-env:")
    assert name not in others
    assert len(others) == 3
    assert environment_name(Identity("hub", "another runner"), IMAGE, wanted()) == name


def test_pip_has_a_network_also_where_the_program_has_none() -> None:
    body = builder_body(replace(spec(), network=Network.NONE), wanted(), IMAGE, IDENTITY)
    assert body["HostConfig"]["NetworkMode"] == "bridge"


def test_pip_runs_in_a_container_that_sees_nothing_of_the_program() -> None:
    body = builder_body(spec(), wanted(), IMAGE, IDENTITY)
    host = body["HostConfig"]

    assert host["Mounts"] == []
    assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], ["DAC_OVERRIDE"], False)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (body["Image"], body["User"]) == ("sha256:1", "0")
    assert "User" not in builder_body(spec(), wanted(), ImageCommand(), IDENTITY)
    assert body["Labels"][labels.RUNNER_ID] == "runner"
    assert "Env" not in body


def test_a_folder_is_there_for_reading_where_packages_lie_in_it() -> None:
    (mount,) = builder_body(spec(), wanted("state"), IMAGE, IDENTITY)["HostConfig"]["Mounts"]

    assert (mount["Source"], mount["ReadOnly"]) == ("/host/p", True)


def test_certificates_are_there_and_named_unless_the_program_names_others() -> None:
    (mount,) = builder_body(spec("/ca.pem"), wanted(), IMAGE, IDENTITY)["HostConfig"]["Mounts"]
    assert (mount["Source"], mount["Target"], mount["ReadOnly"]) == ("/ca.pem", CA_BUNDLE, True)

    variables = names_in(archive(spec("/ca.pem"), wanted(PIP_CERT="/own")))["opt/pyexecutorhub/variables"].decode()
    assert "export PIP_CERT=/own\n" in variables
    assert f"export SSL_CERT_FILE={CA_BUNDLE}\n" in variables
    assert "PIP_CERT" not in names_in(archive(spec(), wanted()))["opt/pyexecutorhub/variables"].decode()


def test_the_files_travel_as_they_were_read_and_variables_can_not_break_out() -> None:
    files = names_in(archive(spec(), wanted(PIP_X="a'; rm -rf /\n$(id)")))

    assert files["opt/pyexecutorhub/given/workspace/requirements.txt"] == b"six\n"
    assert b"export PIP_X='a'\"'\"'; rm -rf /\n$(id)'\n" in files["opt/pyexecutorhub/variables"]


def test_the_new_image_runs_what_the_old_one_ran_and_is_no_runners() -> None:
    assert image_config(IMAGE) == {
        "Entrypoint": ["python"],
        "Cmd": ["-V"],
        "User": "app",
        "Labels": {labels.MANAGED: "", labels.RUNNER_ID: ""},
    }


REFUSED = (
    b"WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError(...)': /simple/six/\n"
    b"ERROR: Could not find a version that satisfies the requirement six (from versions: none)\n"
    b"ERROR: No matching distribution found for six\n"
)


@pytest.mark.parametrize(
    ("said", "reason", "category"),
    [
        (REFUSED, Reason.NETWORK, Category.SYSTEM),
        (b"Collecting six\n  Downloading six.whl\n" + REFUSED, Reason.MISSING_DEPENDENCIES, Category.FILE),
        (b"ERROR: No matching distribution found for six==0\n", Reason.MISSING_DEPENDENCIES, Category.FILE),
        (b"", Reason.MISSING_DEPENDENCIES, Category.FILE),
    ],
)
def test_r4_v2_v4_no_network_is_told_from_no_such_package(said: bytes, reason: Reason, category: Category) -> None:
    failed = pip_failed("p", "requirements.txt", 1, said)

    assert (failed.reason, failed.reason.category) == (reason, category)
    assert failed.said == said
    assert failed.message.startswith(
        "Missing dependencies: requirements.txt of program 'p' could not be installed: pip exited with code 1."
    )


def test_pips_errors_are_repeated_or_else_its_last_words_within_bounds() -> None:
    assert pip_failed("p", "r", 1, REFUSED).message.endswith("\nERROR: No matching distribution found for six")
    assert pip_failed("p", "r", 2, b"one\n\ntwo\n").message.endswith(".\none\ntwo")
    assert len(pip_failed("p", "r", 1, b"ERROR: x\n" * 9000).message) < 2200
    assert "within 60 s (install_timeout_seconds)" in install_timed_out("p", "r", 60.0, b"").message


def test_the_last_used_environments_are_kept_and_those_in_use_always() -> None:
    now, day = 1e9, 86400.0
    used = {"now": now, "today": now - day / 2, "last week": now - 7 * day, "last year": now - 365 * day}

    assert to_remove(used, kept=50, now=now) == ["last year"]
    assert to_remove(used, kept=2, now=now) == ["last week", "last year"]
    assert to_remove(used, kept=0, now=now) == ["today", "last week", "last year"]
