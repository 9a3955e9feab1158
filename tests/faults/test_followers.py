"""Many follow one execution, and some of them do not read on."""

import asyncio
import re
import socket
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.e2e.conftest import HubMaker
from tests.support.api import Api
from tests.support.hub_process import HubProcess

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

HEALTHY, STALLED = 20, 5
#: More than the buffers of a connection take.
SIZE = 8 * 1024 * 1024


async def test_fault32_those_who_stall_hold_up_nobody_cost_no_memory_and_go_on_where_they_were(make_hub: HubMaker) -> None:
    hub = make_hub()
    hub.start()
    async with aiohttp.ClientSession(hub.address, connector=aiohttp.TCPConnector(limit=0)) as session:
        api = Api(session)
        await api.log_in()
        before = hub.rss_bytes()
        execution_id = await api.submit("big", size=SIZE)
        path = f"/executions/{execution_id}/logs/stream"
        stalled = [await _stall(hub, path, session.headers["Authorization"]) for _ in range(STALLED)]

        async def read() -> int:
            async with session.get(path, timeout=aiohttp.ClientTimeout(120)) as answer:
                return _size(await answer.read())

        assert set(await asyncio.gather(*(read() for _ in range(HEALTHY)))) == {SIZE}
        assert hub.rss_bytes() - before < 128 * 1024 * 1024
        for connection in stalled:
            # What lies in the buffers is what this one has seen; it comes back after the last whole event of that.
            seen = await asyncio.to_thread(_drain, connection)
            whole = seen[: seen.rindex(b"\n\n")]
            last = re.findall(rb"\nid: (\S+)", whole)[-1].decode()
            async with session.get(path, headers={"Last-Event-ID": last}) as answer:
                assert _size(whole) + _size(await answer.read()) == SIZE


def _size(events: bytes) -> int:
    """Bytes of output in these events; what the program writes needs no escapes but these."""
    return sum(
        len(content) - content.count(rb"\"") - content.count(rb"\\")
        for content in re.findall(rb'"encoding":"utf-8","content":"((?:[^"\\]|\\.)*)"', events)
    )


async def _stall(hub: HubProcess, path: str, authorization: str) -> socket.socket:
    """A connection that asks, and reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    address = urlsplit(hub.address)
    await asyncio.to_thread(connection.connect, (address.hostname, address.port))
    connection.sendall(f"GET {path} HTTP/1.0\r\nHost: hub\r\nAuthorization: {authorization}\r\n\r\n".encode())
    return connection


def _drain(connection: socket.socket) -> bytes:
    """Leave, after reading what has come so far."""
    connection.settimeout(2)
    seen = b""
    try:
        while len(seen) < SIZE // 2 and (more := connection.recv(65536)):
            seen += more
    except TimeoutError:
        pass
    finally:
        connection.close()
    return seen
