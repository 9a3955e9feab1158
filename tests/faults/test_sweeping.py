"""Sweeping as the operator of a hub sees it."""

import json

import pytest

from runner import labels
from tests.e2e.conftest import HubMaker
from tests.e2e.test_command_line import run
from tests.support.docker import docker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

DEBIAN = "pyexecutorhub-debian:bookworm"


def leave(hub: HubProcess, execution_id: str) -> str:
    """A container as a killed runner of this hub leaves it."""
    runner_id = (hub.folder / "state" / "runner-id").read_text().strip()
    said = {labels.INSTANCE: hub.instance, labels.RUNNER_ID: runner_id, labels.EXECUTION_ID: execution_id}
    return docker("create", *(f"--label={name}={value}" for name, value in said.items()), DEBIAN, "true")


async def test_m46_a_dry_run_shows_what_would_go_beside_a_running_hub_and_a_sweep_removes_it_when_that_has_stopped(
    make_hub: HubMaker,
) -> None:
    hub = make_hub(HUB_SWEEP_DRY_RUN="1", HUB_SWEEP_SECONDS="1", HUB_STOP_SECONDS="0")
    nothing = run(hub, "sweep", "--dry-run")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, b"nothing to remove\n", b"")
    hub.start()
    left = leave(hub, "an-execution")

    async def said() -> bool:
        return "stray_found" in hub.log()

    await eventually(said)
    shown = run(hub, "sweep", "--dry-run", "--json")
    (row,) = json.loads(shown.stdout)
    assert (shown.returncode, row["kind"], row["execution"]) == (0, "container", "an-execution")
    assert row["why"].startswith("no claim of this runner owns it")
    # The hub has the journal: it sweeps by itself, or here only says so.
    refused = run(hub, "sweep")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"sweeps by itself every 1 s: --dry-run shows" in refused.stderr
    assert docker("ps", "--all", "--quiet", "--no-trunc", f"--filter=id={left}") == left

    hub.stop()
    swept = run(hub, "sweep")
    assert (swept.returncode, swept.stdout.splitlines()[0].split()) == (0, [b"KIND", b"NAME", b"EXECUTION", b"PROGRAM", b"WHY"])
    assert hub.containers() == []
