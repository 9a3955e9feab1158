"""Long-lived tokens, from the command line to a fleet."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.conftest import HubMaker
from tests.support.api import Api
from tests.support.broker import Broker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = pytest.mark.docker

#: Seconds in which every gateway knows of a new token, and of a revocation.
EVERYWHERE_SECONDS = 1.0


def command(hub: HubProcess, *words: str) -> subprocess.CompletedProcess[str]:
    """``pyexecutorhub token …`` beside a hub."""
    return subprocess.run(
        [sys.executable, "-m", "hub", "token", *words, "--config", str(hub.config_path)],
        env=hub.environment,
        cwd=hub.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@asynccontextmanager
async def holder_of(token: str, hub: HubProcess) -> AsyncIterator[Api]:
    """A script with this token."""
    async with aiohttp.ClientSession(hub.address, headers={"Authorization": f"Bearer {token}"}) as session:
        yield Api(session)


async def status(token: str, hub: HubProcess) -> int:
    """How the hub answers this token."""
    async with holder_of(token, hub) as api:
        answered, _, _ = await api.call("GET", "/programs")
        return answered


async def test_m29_a_token_from_the_command_line_runs_programs_survives_kill_9_and_ends_when_revoked(
    make_hub: HubMaker,
) -> None:
    hub = make_hub()
    hub.start()
    made = command(hub, "create", "nightly job", "--scope", "run", "--days", "30")
    assert made.returncode == 0, made.stderr
    (token,) = made.stdout.splitlines()
    assert token.startswith("hub_")
    hub.kill()
    hub.start()
    async with holder_of(token, hub) as api:
        record = await api.run("hello")
        assert (record["status"], record["submitted_by"]) == ("completed", "tester/nightly job")
        assert (await api.call("DELETE", "/executions/cleanup"))[0] == 403
        assert (await api.call("POST", "/auth/tokens", {"name": "another"}))[0] == 403
    assert _kept_anywhere(token, hub.folder) == []

    (line,) = command(hub, "list").stdout.splitlines()
    assert token not in line
    assert line.endswith("nightly job (by tester)")
    token_id = line.split()[0]
    revoked = command(hub, "revoke", token_id)
    assert (revoked.returncode, revoked.stdout, revoked.stderr) == (0, "", "")
    assert await status(token, hub) == 401
    again = command(hub, "revoke", token_id)
    assert (again.returncode, again.stderr) == (1, "error: Token not found\n")
    assert command(hub, "list").stdout == ""
    hub.kill()
    hub.start()
    assert await status(token, hub) == 401


def _kept_anywhere(token: str, folder: Path) -> list[Path]:
    secret = token.removeprefix("hub_").encode()
    return [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


@pytest.mark.rabbitmq
async def test_fault33_m29_a_token_of_one_gateway_holds_on_the_other_and_a_revocation_reaches_it_within_a_second(
    make_hub: HubMaker, broker: Broker
) -> None:
    url = broker.new_vhost_url()
    one, other = make_hub(bus_url=url, parts=("gateway",)), make_hub(bus_url=url, parts=("gateway",))
    one.start()
    other.start()
    token = command(one, "create", "shared").stdout.strip()

    async def seen() -> int:
        return await status(token, other)

    await eventually(seen, lambda seen: seen == 200, within_seconds=EVERYWHERE_SECONDS)
    token_id = command(other, "list").stdout.split()[0]
    async with aiohttp.ClientSession(one.address) as session:
        user = Api(session)
        await user.log_in()
        assert (await user.call("DELETE", f"/auth/tokens/{token_id}"))[0] == 204
    await eventually(seen, lambda seen: seen == 401, within_seconds=EVERYWHERE_SECONDS)
    assert await status(token, one) == 401
    # From its first answer on, a gateway that starts anew knows of both.
    second = command(one, "create", "second").stdout.strip()
    other.kill()
    other.start()
    assert (await status(token, other), await status(second, other)) == (401, 200)
