"""Commands that ask the hub of this machine: over HTTP like every client, with a token made from its state directory."""

import asyncio
import base64
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import typer
from yarl import URL

from gateway.tokens import Tokens
from hub.accounts import FILE_NAME
from hub.accounts_of import accounts_of
from hub.errors import HubError
from hub.settings import Settings

#: Seconds that the hub may take for one answer.
_ANSWER_SECONDS = 75
#: What the shell gets where the program has no exit code of its own.
_EXIT_NOT_RUN = 125
_EXIT_TIMEOUT = 124
#: And where somebody cancelled it, or would not wait for its end: the shell's own word for Ctrl-C.
_EXIT_INTERRUPTED = 130
_NOT_ENDED = ("queued", "running")
#: Seconds between two looks at an execution: short at first, for programs that are.
_FIRST_PAUSE_SECONDS = 0.05
_LAST_PAUSE_SECONDS = 0.5
#: Seconds that the command's token lives: longer than any program may run.
_TOKEN_SECONDS = 7 * 86400


async def run_program(settings: Settings, program: str, parameters: list[str], *, idempotency_key: str | None = None) -> int:
    """Run it, copy its output to ours, and return its exit code (124 after its time limit, 125 where it was not run).

    With a key that names an execution of the last 24 hours already, that one is waited for and shown.
    Ctrl-C asks once for its end, and then waits for that; the second one leaves it alone.

    Raises:
        HubError: the hub does not answer, or refuses.
    """
    body: dict[str, Any] = {"program_id": program, "parameters": dict(_split(parameter) for parameter in parameters)}
    if idempotency_key is not None:
        body["idempotency_key"] = idempotency_key
    # The id comes at once, without waiting for the end: who interrupts must know what.
    with _interrupts() as interrupts:
        async with connected(settings) as session:
            execution_id = (await call(session, "POST", "/execute", body))["execution_id"]
            record = await _until_ended(session, execution_id, interrupts)
    if record is None:
        return _EXIT_INTERRUPTED
    _copy(record["output"], record.get("output_encoding"), sys.stdout)
    _copy(record["error"], record.get("error_encoding"), sys.stderr)
    return exit_code_of(record)


def exit_code_of(ended: Mapping[str, Any]) -> int:
    """What the shell gets, from the record or the event of an end."""
    if ended["status"] == "timeout":
        return _EXIT_TIMEOUT
    if ended["status"] == "cancelled":
        return _EXIT_INTERRUPTED
    return _EXIT_NOT_RUN if ended.get("exit_code") is None else int(ended["exit_code"])


def attempt_line(attempt: Mapping[str, Any]) -> str:
    """What is said of an attempt that another one follows, from the record or the event of its end."""
    why = attempt.get("message") or attempt["status"]
    return f"attempt {attempt['attempt']}: {str(why).removesuffix('.')}; another one follows"


async def cancel(settings: Settings, execution_id: str, reason: str | None) -> int:
    """Ask for an execution's end, and say where it stands.

    Raises:
        HubError: the hub does not answer, or refuses.
    """
    async with connected(settings) as session:
        record = await call(session, "POST", f"/executions/{quote(execution_id, safe='')}/cancel", {"reason": reason})
    has_ended = record["status"] not in _NOT_ENDED
    typer.echo(f"{record['execution_id']}: {'had ended, ' if has_ended else 'is being cancelled, '}{record['status']}")
    return 0


async def _until_ended(
    session: aiohttp.ClientSession, execution_id: str, interrupts: "asyncio.Queue[None]"
) -> dict[str, Any] | None:
    """The record of its end; ``None`` where somebody would not wait for it."""
    pause = _FIRST_PAUSE_SECONDS
    asked = False
    attempts = 0
    while True:
        record: dict[str, Any] = await call(session, "GET", f"/executions/{execution_id}")
        for attempt in record["attempts"][attempts:]:
            typer.echo(attempt_line(attempt), err=True)
        attempts = len(record["attempts"])
        if record["status"] not in _NOT_ENDED:
            return record
        try:
            async with asyncio.timeout(pause):
                await interrupts.get()
        except TimeoutError:
            pause = min(pause * 1.5, _LAST_PAUSE_SECONDS)
            continue
        if asked:
            typer.echo(f"left alone: {execution_id}", err=True)
            return None
        asked = True
        typer.echo(f"cancelling {execution_id}; press Ctrl-C again to leave it alone", err=True)
        await call(session, "POST", f"/executions/{execution_id}/cancel", {"reason": "interrupted"})


@contextmanager
def _interrupts() -> Iterator["asyncio.Queue[None]"]:
    """Each Ctrl-C as one thing in a queue, instead of this process's end."""
    interrupts: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    earlier = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, interrupts.put_nowait, None)
    try:
        yield interrupts
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, earlier)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    """A session with the hub of this machine, logged in.

    Raises:
        HubError: the hub does not answer, also in the middle of the session.
    """
    address = f"http://{_reachable(settings.hub.api_host)}:{settings.hub.api_port}"
    headers = {"Authorization": f"Bearer {_token(settings)}"}
    limit = aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=5)
    try:
        async with aiohttp.ClientSession(address, headers=headers, timeout=limit) as session:
            yield session
    except (aiohttp.ClientError, TimeoutError) as error:
        raise HubError(f"no hub answers on {address} ({type(error).__name__}): start it with  pyexecutorhub up") from error


async def call(session: aiohttp.ClientSession, method: str, path: str, body: object = None) -> Any:
    """What the hub answers, as Python sees the JSON; ``None`` where it has nothing to say.

    Raises:
        HubError: it refuses, or what it says is no JSON.
    """
    content, _ = await _answer(session, method, path, body)
    return content


async def listed(session: aiohttp.ClientSession, path: str, most: int) -> list[Any]:
    """The first rows of a list that comes in pages.

    Raises:
        HubError: see :func:`call`.
    """
    rows: list[Any] = []
    next_page: URL | str | None = path
    while next_page is not None and len(rows) < most:
        page, next_page = await _answer(session, "GET", next_page, None)
        rows += page
    return rows[:most]


async def _answer(session: aiohttp.ClientSession, method: str, path: URL | str, body: object) -> tuple[Any, URL | None]:
    """What the hub answers, and where the next page is."""
    async with session.request(method, path, json=body) as answer:
        try:
            content = await answer.json(content_type=None)
        except ValueError as error:
            raise HubError(f"the hub's answer is not JSON (status {answer.status})") from error
        if answer.status >= 400:
            raise HubError(str(content.get("detail", content)) if isinstance(content, dict) else f"status {answer.status}")
        following = answer.links["next"]["url"] if "next" in answer.links else None
        return content, URL(following) if following is not None else None


def _token(settings: Settings) -> str:
    """A token of our own making: whoever may read the state directory needs no password."""
    if not (settings.hub.state_path / FILE_NAME).exists():
        raise HubError(
            f"no hub has started with the state directory {settings.hub.state_path}: set HUB_STATE_DIR, or start one"
        )
    users, _ = accounts_of(settings.hub)
    return Tokens(users.signing_key, lifetime_seconds=_TOKEN_SECONDS).issue(users.username)


def _split(parameter: str) -> tuple[str, str]:
    key, separator, value = parameter.partition("=")
    if not separator or not key:
        raise HubError(f"{parameter!r} is not a parameter: write KEY=VALUE")
    return key, value


def _reachable(host: str) -> str:
    """The address to call where the hub listens on ``host``: all interfaces include this one."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound


def _copy(text: str | None, encoding: str | None, stream: Any) -> None:
    if text:
        stream.buffer.write(base64.b64decode(text) if encoding == "base64" else text.encode())
        stream.buffer.flush()
