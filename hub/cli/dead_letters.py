"""``pyexecutorhub dlq``: commands that nobody will run, seen and settled through the hub of this machine."""

import base64
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import typer

from bus.messages import DeadReason
from hub.cli.client import call, connected, listed
from hub.errors import HubError
from hub.settings import Settings
from schemas.printable import printable

_PATH = "/dead-letters"


async def show_all(settings: Settings, reason: DeadReason | None, limit: int, *, as_json: bool) -> int:
    """Print a line for each, the newest first, or all of them as JSON.

    Raises:
        HubError: the hub does not answer, or refuses.
    """
    async with connected(settings) as session:
        letters = await _newest(session, reason, limit)
    if as_json:
        typer.echo(json.dumps(letters, indent=2))
        return 0
    for letter in letters:
        at = letter["dead_at"] or "time unknown"
        typer.echo(printable(f"{letter['id']}  {at}  {letter['reason']}: {letter['detail']}"))
    return 0


async def show(settings: Settings, letter_id: str, *, as_json: bool, raw: bool) -> int:
    """Print one with its body, safe for a terminal; or as JSON, or the bytes of its body alone.

    Raises:
        HubError: the hub does not answer, or there is no such dead letter.
    """
    async with connected(settings) as session:
        letter = await call(session, "GET", _address(letter_id))
    body = base64.b64decode(letter["body"]) if letter["body_encoding"] == "base64" else letter["body"].encode()
    if raw:
        sys.stdout.buffer.write(body)
    elif as_json:
        typer.echo(json.dumps(letter, indent=2))
    else:
        rows = {name: value for name, value in letter.items() if name not in ("preview", "body", "body_encoding")}
        for name, value in (rows | {"body": body.decode("utf-8", "backslashreplace")}).items():
            typer.echo(f"{name}: {'' if value is None else printable(str(value))}")
    return 0


async def redrive(
    settings: Settings, letter_id: str | None, reason: DeadReason | None, limit: int, *, body_file: Path | None
) -> int:
    """Run one again, or without an id the newest of a reason or of all, the oldest of them first; print the new ids.

    Raises:
        HubError: the hub does not answer; or it refuses the one; or the file can't be used.
    """
    body = None if body_file is None else _read(body_file)
    async with connected(settings) as session:

        async def run_again(one: str) -> None:
            accepted = await call(session, "POST", f"{_address(one)}/redrive", body)
            typer.echo(f"{one}  {accepted['execution_id']}")

        return await _each(session, letter_id, reason, limit, run_again)


async def discard(settings: Settings, letter_id: str | None, reason: DeadReason | None, limit: int) -> int:
    """Let go of one, or without an id of the newest of a reason or of all.

    Raises:
        HubError: the hub does not answer, or there is no such dead letter.
    """
    async with connected(settings) as session:

        async def let_go(one: str) -> None:
            await call(session, "DELETE", _address(one))

        return await _each(session, letter_id, reason, limit, let_go)


async def _each(
    session: aiohttp.ClientSession,
    letter_id: str | None,
    reason: DeadReason | None,
    limit: int,
    settle: Callable[[str], Awaitable[None]],
) -> int:
    """Settle one or many; the exit status, 1 where one of many could not be settled."""
    if letter_id is not None:
        await settle(letter_id)
        return 0
    failed = 0
    letters = await _newest(session, reason, limit)
    for letter in reversed(letters):
        try:
            await settle(letter["id"])
        except HubError as error:
            failed += 1
            typer.echo(f"{letter['id']}: {printable(str(error))}", err=True)
    typer.echo(f"{len(letters) - failed} settled, {failed} not", err=True)
    return 1 if failed else 0


async def _newest(session: aiohttp.ClientSession, reason: DeadReason | None, limit: int) -> list[dict[str, Any]]:
    query = {"limit": min(limit, 200)} | ({} if reason is None else {"reason": reason.value})
    return await listed(session, f"{_PATH}?{urlencode(query)}", limit)


def _address(letter_id: str) -> str:
    return f"{_PATH}/{quote(letter_id, safe='')}"


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise HubError(f"{file} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise HubError(f"{file} is not JSON") from error
