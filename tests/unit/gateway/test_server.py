"""Listening and stopping, over a real socket."""

import asyncio
import socket
import time

import aiohttp
import pytest

from gateway.errors import CannotListen
from gateway.server import SHUTDOWN_SECONDS, Listening, serve
from gateway.tokens import Tokens
from tests.support.gateway_fakes import SIGNING_KEY, USERNAME, World
from tests.support.wait import eventually


async def test_port_zero_lets_the_system_choose_and_says_which(world: World) -> None:
    async with serve(world.app(), host="127.0.0.1", port=0) as listening, aiohttp.ClientSession() as session:
        assert listening.port > 0
        async with session.get(f"{listening.url}/health") as response:
            assert response.status == 200


async def test_a_port_in_use_is_a_clear_error(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"can't listen on 127.0.0.1:{port}: Address already in use"):
            async with serve(world.app(), host="127.0.0.1", port=port):
                raise AssertionError("it listens")


async def test_a_host_that_is_not_ours_is_a_clear_error(world: World) -> None:
    with pytest.raises(CannotListen, match=r"can't listen on 192\.0\.2\.1:"):
        async with serve(world.app(), host="192.0.2.1", port=0):
            raise AssertionError("it listens")


async def test_stopping_answers_waiting_requests_and_takes_no_time(world: World) -> None:
    headers = {"Authorization": f"Bearer {Tokens(SIGNING_KEY).issue(USERNAME)}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with serve(world.app(), host="127.0.0.1", port=0) as listening:

            async def wait() -> int:
                async with session.post(f"{listening.url}/execute?wait=300", json={"program_id": "billing"}) as response:
                    return response.status

            request = asyncio.create_task(wait())

            async def waits() -> bool:
                return bool(world.view.waited_for)

            await eventually(waits)
            stopped_at = time.monotonic()
        assert time.monotonic() - stopped_at < SHUTDOWN_SECONDS - 0.5
        assert await request == 202


async def test_fault24_a_gateway_that_is_to_stop_first_says_so_and_still_answers(world: World) -> None:
    headers = {"Authorization": f"Bearer {Tokens(SIGNING_KEY).issue(USERNAME)}"}
    left = asyncio.Event()

    async def leave() -> None:
        async with serve(world.app(), host="127.0.0.1", port=0, leave_seconds=0.5) as listening:
            urls.append(listening.url)
            await left.wait()

    urls: list[str] = []
    serving = asyncio.create_task(leave())
    await eventually(lambda: asyncio.sleep(0, urls))
    async with aiohttp.ClientSession(urls[0], headers=headers) as session:
        async with session.get("/health?ready=1") as ready:
            assert (ready.status, ready.headers.get("Connection")) == (200, None)
        left.set()

        async def readiness() -> int:
            async with session.get("/health?ready=1") as response:
                return response.status

        await eventually(readiness, lambda status: status == 503)
        async with session.get("/health") as health:
            body = await health.json()
            assert (health.status, body["status"], body["problems"]) == (200, "degraded", {"gateway": "it is about to stop"})
        async with session.post("/execute", json={"program_id": "billing"}) as accepted:
            # Whoever keeps the connection for the next request would send it to nobody.
            assert (accepted.status, accepted.headers["Connection"]) == (202, "close")
        await serving
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get("/health")


async def test_an_idle_connection_does_not_hold_up_stopping(world: World) -> None:
    async with aiohttp.ClientSession() as session:
        async with serve(world.app(), host="127.0.0.1", port=0) as listening:
            async with session.get(f"{listening.url}/health") as response:
                await response.read()
            stopped_at = time.monotonic()
        assert time.monotonic() - stopped_at < SHUTDOWN_SECONDS - 0.5


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:1"), ("::", "http://[::1]:1"), ("127.0.0.1", "http://127.0.0.1:1"), ("hub", "http://hub:1")],
)
def test_the_address_for_people_is_one_they_can_call(host: str, url: str) -> None:
    assert Listening(host, 1).url == url
