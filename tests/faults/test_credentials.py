"""Credentials that change while they are used, under programs that run on."""

import asyncio
import re
import subprocess
import sys

import aiohttp
import pytest

from tests.e2e.conftest import HubMaker
from tests.support.api import Api
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = pytest.mark.docker

ROTATIONS = 20


async def test_fault33_tokens_that_are_replaced_twenty_times_and_a_new_password_end_the_old_ones_and_no_program(
    make_hub: HubMaker,
) -> None:
    hub = make_hub()
    hub.start()
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        lasts = await api.submit("sleeps", seconds=20)
        await eventually(lambda: api.get(f"/executions/{lasts}"), lambda seen: seen["status"] == "running", within_seconds=20)
        old = await new_token(api)
        for number in range(ROTATIONS):
            fresh = await new_token(api)
            # Both hold while scripts are given the new one, whatever happens at the same time.
            assert await asyncio.gather(*(status(hub, one["token"]) for one in (old, fresh) * 5)) == [200] * 10, number
            assert (await api.call("DELETE", f"/auth/tokens/{old['id']}"))[0] == 204
            assert await asyncio.gather(*(status(hub, old["token"]) for _ in range(5))) == [401] * 5, number
            old = fresh

        login = session.headers["Authorization"].removeprefix("Bearer ")
        hub.stop()
        del hub.environment["HUB_USERNAME"], hub.environment["HUB_PASSWORD"]
        username, password = rotate(hub)
        hub.start()
        assert await status(hub, login) == 401
        assert await status(hub, old["token"]) == 200, "a rotation ends logins, and not tokens"
        answered, _, body = await api.call("POST", "/auth/login", {"username": username, "password": password})
        assert answered == 200
        session.headers["Authorization"] = f"Bearer {body['access_token']}"
        record = await api.finished(lasts)
        assert (record["status"], record["exit_code"]) == ("completed", 0)


async def new_token(api: Api) -> dict[str, str]:
    answered, _, made = await api.call("POST", "/auth/tokens", {"name": "script"})
    assert answered == 201, made
    token: dict[str, str] = made
    return token


async def status(hub: HubProcess, token: str) -> int:
    """How the hub answers this token."""
    async with aiohttp.ClientSession(hub.address, headers={"Authorization": f"Bearer {token}"}) as session:
        answered, _, _ = await Api(session).call("GET", "/programs")
        return answered


def rotate(hub: HubProcess) -> tuple[str, str]:
    """``pyexecutorhub credentials rotate``; the new user and password."""
    done = subprocess.run(
        [sys.executable, "-m", "hub", "credentials", "rotate", "--config", str(hub.config_path)],
        env=hub.environment,
        cwd=hub.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    username, password = (re.search(rf"{word}: (\S+)", done.stdout) for word in ("Usuario", "Password"))
    assert username is not None
    assert password is not None
    return username[1], password[1]
