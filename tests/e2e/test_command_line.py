"""The command line as its users type it."""

import importlib.metadata
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import HubMaker
from tests.support.hub_process import HubProcess
from tests.support.ports import free_port

pytestmark = pytest.mark.docker


def run(hub: HubProcess, *words: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """One command, beside a hub."""
    return subprocess.run(
        [sys.executable, "-m", "hub", *words, "--config", str(hub.config_path)],
        env=hub.environment | variables,
        cwd=hub.folder,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_run_gives_the_programs_output_and_exit_status(make_hub: HubMaker) -> None:
    hub = make_hub()
    hub.start()
    hello = run(hub, "run", "hello", "--param", "name=Temis")
    assert (hello.returncode, hello.stderr) == (0, b"a word on the side\n")
    assert b"name is Temis" in hello.stdout
    assert run(hub, "run", "bytes").stdout == bytes(range(256)) * 3
    assert run(hub, "run", "fails", "-p", "code=9").returncode == 9
    assert run(hub, "run", "stubborn").returncode == 124
    nobody = run(hub, "run", "nobody")
    assert nobody.returncode == 1
    assert nobody.stderr == b"error: Program with ID 'nobody' not found\n"


def test_m1_ctrl_c_cancels_what_run_started_and_cancel_ends_what_somebody_else_did(make_hub: HubMaker) -> None:
    hub = make_hub()
    hub.start()
    with started(hub, "run", "sleeps", "-p", "seconds=600") as running:
        wait_for_running(hub)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=40)
    assert (running.returncode, out) == (130, b"")
    assert b"press Ctrl-C again" in err
    assert b"Cancelled by tester: interrupted" in err

    with started(hub, "run", "lasts") as running:
        (name,) = wait_for_running(hub)
        answer = run(hub, "cancel", name, "--reason", "no more")
        assert (answer.returncode, answer.stdout.startswith(f"{name}: is being cancelled, ".encode())) == (0, True)
        # It takes its time to stop: the first Ctrl-C asks again, the second leaves.
        for words in (b"press Ctrl-C again", b"left alone"):
            running.send_signal(signal.SIGINT)
            assert running.stderr is not None
            assert words in running.stderr.readline()
        assert running.wait(timeout=20) == 130
    answer = run(hub, "cancel", "0190a8b4-7c3e-7000-8000-0123456789ab")
    assert (answer.returncode, answer.stderr) == (1, b"error: Execution not found\n")


@contextmanager
def started(hub: HubProcess, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs, beside a hub."""
    command = [sys.executable, "-m", "hub", *words, "--config", str(hub.config_path)]
    process = subprocess.Popen(command, env=hub.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for_running(hub: HubProcess) -> list[str]:
    """The names of the containers that run, once there are some."""
    give_up_at = time.monotonic() + 30
    while not (ids := hub.containers("running")):
        assert time.monotonic() < give_up_at, hub.log()[-2000:]
        time.sleep(0.05)
    return [str(hub.inspect(each)["Config"]["Labels"]["io.pyexecutorhub.execution-id"]) for each in ids]


def test_a2_run_without_a_hub_says_what_to_do(make_hub: HubMaker) -> None:
    hub = make_hub()
    assert b"set HUB_STATE_DIR" in run(hub, "run", "hello").stderr
    run(hub, "credentials", "create")
    answer = run(hub, "run", "hello")
    assert answer.returncode == 1
    assert b"pyexecutorhub up" in answer.stderr


def test_a1_credentials_are_shown_once_and_survive(make_hub: HubMaker) -> None:
    hub = make_hub()
    no_preset = {"HUB_USERNAME": "", "HUB_PASSWORD": ""}
    made = run(hub, "credentials", "create", **no_preset).stdout.decode()
    assert "CREDENCIALES DE USO" in made
    assert "Usuario: " in made
    assert "Password: " in made
    assert run(hub, "credentials", "create", **no_preset).stdout == b""
    password = made.partition("Password: ")[2].split()[0]
    kept = "".join(path.read_text(errors="replace") for path in (hub.folder / "state").iterdir() if path.is_file())
    assert password not in kept


def test_p16_a_first_start_with_a_broken_config_says_all_that_is_wrong_and_ends_with_2(make_hub: HubMaker) -> None:
    hub = make_hub()
    hub.config_path.write_text("scripts:\n  a: {pth: x}\n  b: {path: y, enabled: perhaps}\n", encoding="utf-8")
    answer = run(hub, "up")
    assert answer.returncode == 2
    text = answer.stderr.decode()
    assert "config.yaml:2:" in text
    assert "pth" in text
    assert "config.yaml:3:" in text
    assert "enabled" in text


def test_a_second_hub_on_the_same_state_is_refused(make_hub: HubMaker) -> None:
    hub = make_hub()
    hub.start()
    answer = run(hub, "up", API_PORT=str(free_port()))
    assert answer.returncode == 1
    assert b"stop it first" in answer.stderr


def test_a_port_that_is_taken_is_a_clear_error_and_leaves_nothing_behind(make_hub: HubMaker, tmp_path: Path) -> None:
    hub = make_hub()
    hub.start()
    answer = run(hub, "up", HUB_STATE_DIR=str(tmp_path / "other"))
    assert answer.returncode == 1
    assert str(hub.port).encode() in answer.stderr


def test_a8_a_signing_key_that_is_too_short_is_refused(make_hub: HubMaker) -> None:
    answer = run(make_hub(), "up", SECRET_KEY="short")
    assert answer.returncode == 2
    assert b"SECRET_KEY" in answer.stderr


def test_a_gateway_alone_on_the_embedded_bus_is_refused_because_nobody_would_run_anything(make_hub: HubMaker) -> None:
    for part in ("gateway", "runner"):
        answer = run(make_hub(), part)
        assert answer.returncode == 2
        assert b"HUB_BUS_URL" in answer.stderr


def test_p1_the_version_is_the_packages() -> None:
    shown = subprocess.run([sys.executable, "-m", "hub", "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == importlib.metadata.version("pyexecutorhub")
