"""What is no request at all, or too large to be one, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from gateway.server import Listening, serve
from tests.support.gateway_fakes import World

START = b"POST /execute HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def listening(world: World) -> AsyncIterator[Listening]:
    async with serve(world.app(), host="127.0.0.1", port=0) as listening:
        yield listening


async def exchange(listening: Listening, request: bytes) -> tuple[int, dict[str, str], dict[str, object]]:
    """Send these bytes; the answer's status, its headers and its document."""
    reader, writer = await asyncio.open_connection(listening.host, listening.port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode().strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            document = json.loads(await reader.readexactly(int(headers["content-length"])))
            assert await reader.read() == b"", "it stays open"
        return int(status.split()[1]), headers, document
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: hub\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\r\nHost: hub\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n", 431),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: hub\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\r\nHost: hub\r\n\x1b[2Jbad: \x00\r\n\r\n", 400),
        (b"\x16\x03\x01 no HTTP at all\r\n\r\n", 400),
        (START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ],
    ids=["long header", "many headers", "long path", "control characters", "TLS", "two lengths"],
)
async def test_fault31_what_is_no_request_is_answered_with_a_problem_that_names_nobody(
    listening: Listening, capsys: pytest.CaptureFixture[str], request_: bytes, status: int
) -> None:
    answered, headers, document = await exchange(listening, request_)
    assert answered == status
    assert headers["content-type"] == "application/problem+json"
    assert (document["status"], document["request_id"]) == (status, headers["x-request-id"])
    assert "aiohttp" not in json.dumps(headers).lower() + json.dumps(document).lower()
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "\x1b[2J" not in out + err
