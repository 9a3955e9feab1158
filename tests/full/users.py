"""A user of the fleet who knows no more than what its log shows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.full.conftest import Fleet
from tests.support.api import Api


def credentials(
    fleet: Fleet, command: str = 'docker compose logs pyexecutorhub-api | grep -A 5 "CREDENCIALES DE USO"'
) -> tuple[str, str]:
    """The user name and the password, with the command that the seed's README gives."""
    lines = [line.rpartition("| ")[2].partition(": ") for line in fleet.type(command).splitlines()]
    found = {name: value.strip() for name, separator, value in lines if separator}
    return found["Usuario"], found["Password"]


@asynccontextmanager
async def user_of(fleet: Fleet, shown: tuple[str, str]) -> AsyncIterator[Api]:
    """Somebody who has logged in with these."""
    async with aiohttp.ClientSession(fleet.address) as session:
        api = Api(session)
        status, _, body = await api.call("POST", "/auth/login", {"username": shown[0], "password": shown[1]})
        assert status == 200, body
        session.headers["Authorization"] = f"Bearer {body['access_token']}"
        yield api
