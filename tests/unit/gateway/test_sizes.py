"""What is too large, or no request at all, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from gateway.bodies import MAX_BODY_BYTES
from gateway.server import Listening, serve
from gateway.tokens import Tokens
from tests.support.gateway_fakes import SIGNING_KEY, USERNAME, World

START = b"POST /execute HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def listening(world: World) -> AsyncIterator[Listening]:
    async with serve(world.app(), host="127.0.0.1", port=0) as listening:
        yield listening


def token() -> bytes:
    return f"Authorization: Bearer {Tokens(SIGNING_KEY).issue(USERNAME)}\r\n".encode()


def body_of(size: int) -> bytes:
    return json.dumps({"program_id": "example_script", "parameters": {"x": ""}}).replace('""', f'"{"x" * size}"').encode()


async def exchange(
    listening: Listening, request: bytes, *, closes: bool = False
) -> tuple[int, dict[str, str], dict[str, object]]:
    """Send these bytes; the answer's status, its headers and its document."""
    reader, writer = await asyncio.open_connection(listening.host, listening.port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode().strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            document = json.loads(await reader.readexactly(int(headers["content-length"])))
            if closes:
                assert await reader.read() == b""
        return int(status.split()[1]), headers, document
    finally:
        writer.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_fault31_m27_a_body_above_64_kib_is_413_with_and_without_a_length(
    listening: Listening, world: World, chunked: bool
) -> None:
    for size, expected in ((MAX_BODY_BYTES - 200, 202), (MAX_BODY_BYTES + 1, 413)):
        body = body_of(size)
        framing = b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % len(body)
        pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
        framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n" if chunked else body
        status, headers, document = await exchange(listening, START + token() + framing + framed)
        assert status == expected
    assert headers["content-type"] == "application/problem+json"
    assert document["detail"] == "The body is too large: at most 65536 bytes are allowed"
    assert len(world.commands.accepted) == 1


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
    answered, headers, document = await exchange(listening, request_, closes=True)
    assert answered == status
    assert headers["content-type"] == "application/problem+json"
    assert (document["status"], document["request_id"]) == (status, headers["x-request-id"])
    assert "aiohttp" not in json.dumps(headers).lower() + json.dumps(document).lower()
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "\x1b[2J" not in out + err
