"""Errors and headers: every error is a problem document, and no answer says more than it should."""

import asyncio
import json

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway import problems
from tests.support.gateway_fakes import Client, World, client_of


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/programs", 405), ("POST", "/execute", 415)]
)
async def test_every_error_is_a_problem_with_the_id_of_its_request(client: Client, method: str, path: str, status: int) -> None:
    response = await client.request(method, path, headers={"X-Request-ID": "abc-1"})

    problem = json.loads(await response.text())
    assert (response.status, response.content_type) == (status, "application/problem+json")
    assert set(problem) >= {"type", "title", "status", "detail", "request_id"}
    assert (problem["status"], problem["request_id"], response.headers["X-Request-ID"]) == (status, "abc-1", "abc-1")
    assert problem["type"].startswith("/problems/")


async def test_405_says_what_is_allowed(client: Client) -> None:
    response = await client.delete("/executions")

    assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize("told", ["", "x" * 65, "a b", "<script>", "a\tb"])
async def test_a_request_id_that_is_no_plain_word_is_replaced(client: Client, told: str) -> None:
    response = await client.get("/programs", headers={"X-Request-ID": told})

    assert len(response.headers["X-Request-ID"]) == 32
    assert response.headers["X-Request-ID"] != told


async def test_a_mistake_of_ours_is_a_500_that_tells_the_log_and_not_the_caller(world: World) -> None:
    app = world.app()

    async def fail() -> None:
        raise RuntimeError("canary")

    world.view.statistics = fail  # type: ignore[method-assign,assignment]
    with capture_logs() as lines:
        async with client_of(app) as client:
            response = await client.get("/executions/stats")
            text = await response.text()

    assert (response.status, response.content_type) == (500, "application/problem+json")
    assert "canary" not in text
    [line] = [line for line in lines if line["action"] == "request_failed"]
    assert "canary" in repr(line["exc_info"])


@pytest.mark.parametrize("path", ["/health", "/programs", "/executions", "/nowhere"])
async def test_answers_carry_security_headers_and_no_version(client: Client, path: str) -> None:
    headers = (await client.get(path)).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert "Server" not in headers
    assert not [name for name in headers if name.lower().startswith("access-control-")]


async def test_other_origins_get_no_leave_to_read(stranger: Client) -> None:
    response = await stranger.options(
        "/execute", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    )

    assert response.status == 401
    assert not [name for name in response.headers if name.lower().startswith("access-control-")]


async def test_head_is_answered_without_a_body(client: Client) -> None:
    response = await client.head("/programs")

    assert (response.status, await response.read()) == (200, b"")


def head_of(client: Client, *headers: str) -> bytes:
    lines = ("POST /execute HTTP/1.1", "Host: hub", f"Authorization: {client.session.headers['Authorization']}")
    return "\r\n".join((*lines, "Content-Type: application/json", *headers, "", "")).encode()


async def status_line_of(client: Client, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(client.host, client.port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.readline(), 5)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_body_that_is_not_what_its_headers_say_is_400(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'5\r\n{"pro\r\nnonsense\r\n\r\n'
    assert b" 400 " in await status_line_of(client, head_of(client, "Transfer-Encoding: chunked") + body)

    async def fail(request: web.Request) -> bytes:
        raise web.RequestPayloadError

    monkeypatch.setattr(web.Request, "read", fail)
    response = await client.post("/execute", json={})

    assert (response.status, response.content_type) == (400, "application/problem+json")


async def test_a_body_that_does_not_come_is_408(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.bodies.BODY_TIMEOUT_SECONDS", 0.05)

    assert b" 408 " in await status_line_of(client, head_of(client, "Content-Length: 100") + b"{")


async def test_a_reply_with_lone_surrogates_is_json_all_the_same(client: Client) -> None:
    response = await client.post("/execute", data=b'{"program_id": "\\ud83d"}', headers={"Content-Type": "application/json"})

    assert response.status == 422
    await response.json()


def test_the_status_of_every_http_error_has_a_problem() -> None:
    for status in (400, 403, 404, 405, 408, 411, 413, 414, 415, 417, 426, 428, 429, 431, 500, 501, 503):
        problem = problems.of_status(status)
        assert problem.status == status
        assert problem.slug is not None
        assert problem.slug.replace("-", "").isalnum()
