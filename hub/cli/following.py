"""Following an execution of the hub of this machine: its output is ours as it is written."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import typer

from bus.backoff import Backoff
from gateway.followers import ATTEMPT_ENDED
from gateway.parameters import LAST_EVENT_ID
from hub.cli.client import attempt_line, connected, exit_code_of
from hub.errors import HubError
from hub.settings import Settings

#: Seconds without a word, heartbeats included, after which the connection counts as lost.
_SILENT_SECONDS = 45
#: Tries in a row without a word from the hub before it is given up.
_TRIES = 10
#: Longest line, in bytes: a piece of output of 64 KiB, as text at its longest.
_LONGEST_LINE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Told:
    event: str
    event_id: str
    data: dict[str, Any]


async def follow(settings: Settings, execution_id: str) -> int:
    """Copy its output to ours until it has ended; its exit code, as ``run`` gives it.

    Raises:
        HubError: the hub does not answer, or refuses.
    """
    last_id = ""
    tries = 0
    backoff = Backoff()
    while True:
        try:
            async with connected(settings) as session, aclosing(_events(session, execution_id, last_id)) as events:
                async for told in events:
                    last_id, tries = told.event_id, 0
                    if told.event == "output":
                        _write(told.data["data"])
                    elif told.event == ATTEMPT_ENDED:
                        typer.echo(attempt_line(told.data["data"]), err=True)
                    elif told.event not in ("queued", "running"):
                        if message := told.data["data"].get("message"):
                            typer.echo(message, err=True)
                        return exit_code_of(told.data["data"])
        except HubError as error:
            tries += 1
            if isinstance(error, _Refused) or tries >= _TRIES:
                raise
        # The hub let go of us, because it stops perhaps; or it is not there. It goes on after what came last.
        await backoff.pause()


class _Refused(HubError):
    """The hub has answered, and another try gets the same answer."""


async def _events(session: aiohttp.ClientSession, execution_id: str, last_id: str) -> AsyncGenerator[_Told, None]:
    path = f"/executions/{quote(execution_id, safe='')}/logs/stream"
    headers = {LAST_EVENT_ID: last_id} if last_id else {}
    limit = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_SILENT_SECONDS)
    async with session.get(path, headers=headers, timeout=limit, read_bufsize=_LONGEST_LINE) as answer:
        if answer.status >= 500 or answer.status == 429:
            raise HubError(f"the hub says {answer.status}")
        if answer.status != 200:
            problem = await answer.json(content_type=None)
            raise _Refused(str(problem.get("detail", problem)) if isinstance(problem, dict) else f"status {answer.status}")
        fields: dict[str, str] = {}
        async for line in _lines(answer):
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                yield _Told(fields["event"], fields["id"], json.loads(fields["data"]))
                fields = {}


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[str]:
    try:
        async for line in answer.content:
            yield line.decode().rstrip("\n")
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise HubError(f"the connection to the hub was lost ({type(error).__name__})") from error


def _write(chunk: dict[str, Any]) -> None:
    content = base64.b64decode(chunk["content"]) if chunk["encoding"] == "base64" else chunk["content"].encode()
    stream = sys.stderr if chunk["stream"] == "stderr" else sys.stdout
    stream.buffer.write(content)
    stream.buffer.flush()
