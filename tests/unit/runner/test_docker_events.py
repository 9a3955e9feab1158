"""What is heard of Docker's events, from a stand-in that says what a test wants it to say."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from runner.docker_connection import DockerConnection
from runner.docker_events import DockerEvents, was_told
from runner.identity import Identity
from tests.support.wait import eventually


@dataclass
class Daemon:
    """Takes questions for events, and says things to those who listen."""

    listeners: dict[str, list[web.StreamResponse]] = field(default_factory=dict)
    filters: list[dict[str, list[str]]] = field(default_factory=list)
    _hang_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """One listener."""
        wanted = json.loads(request.query["filters"])
        self.filters.append(wanted)
        response = web.StreamResponse()
        await response.prepare(request)
        (kind,) = wanted["type"]
        self.listeners.setdefault(kind, []).append(response)
        await self._hang_up.wait()
        return response

    async def say(self, kind: str, content: bytes) -> None:
        for listener in self.listeners[kind]:
            await listener.write(content)

    async def tell(self, action: str, name: str, at: int, **said: str) -> None:
        await self.say("container", event(action, name, at, **said))

    def hang_up(self) -> None:
        self._hang_up.set()
        self._hang_up = asyncio.Event()
        self.listeners.clear()


def event(action: str, name: str, at: int, **said: str) -> bytes:
    actor = {"ID": f"id-of-{name}", "Attributes": {"name": name, **said}}
    return json.dumps({"Type": "container", "Action": action, "Actor": actor, "timeNano": at * 10**9}).encode() + b"\n"


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon()
    app = web.Application()
    app.router.add_get("/{version}/events", daemon.events)
    app.router.add_get("/version", version)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "docker.sock")).start()
    yield daemon
    daemon.hang_up()
    await runner.cleanup()


async def version(_: web.Request) -> web.Response:
    return web.json_response({"ApiVersion": "1.41"})


@pytest.fixture
async def events(tmp_path: Path, daemon: Daemon) -> AsyncIterator[DockerEvents]:
    connection = DockerConnection(str(tmp_path / "docker.sock"))
    events = DockerEvents(connection, Identity("hub", "runner"))
    events.begin()
    await heard(events, daemon)
    yield events
    await events.close()
    await connection.close()


async def heard(events: DockerEvents, daemon: Daemon) -> None:
    """Both listeners are there, and know it."""

    async def listens() -> bool:
        return events.hears_of_images and events._hears_of_ends and len(daemon.listeners) == 2

    await eventually(listens)


async def told(future: asyncio.Future[dict[str, Any]] | None) -> dict[str, Any]:
    assert future is not None
    return await asyncio.wait_for(asyncio.shield(future), 5)


async def test_an_end_is_told_with_its_code_and_both_times(events: DockerEvents, daemon: Daemon) -> None:
    events.await_end("a")
    await daemon.tell("start", "a", 1_700_000_000)
    await daemon.tell("die", "a", 1_700_000_009, exitCode="3")

    assert await told(events.end_of("a")) == {
        "Id": "id-of-a",
        "State": {
            "Status": "exited",
            "ExitCode": 3,
            "OOMKilled": False,
            "StartedAt": "2023-11-14T22:13:20+00:00",
            "FinishedAt": "2023-11-14T22:13:29+00:00",
        },
    }


async def test_a_kill_for_want_of_memory_is_told_with_the_end(events: DockerEvents, daemon: Daemon) -> None:
    events.await_end("a")
    for action, said in (("start", {}), ("oom", {}), ("die", {"exitCode": "0"})):
        await daemon.tell(action, "a", 1, **said)
    assert (await told(events.end_of("a")))["State"]["OOMKilled"]


async def test_only_this_runner_s_containers_are_heard_of(events: DockerEvents, daemon: Daemon) -> None:
    (containers,) = [wanted for wanted in daemon.filters if wanted["type"] == ["container"]]
    assert containers["label"] == ["io.pyexecutorhub.instance=hub", "io.pyexecutorhub.runner-id=runner"]


async def test_an_earlier_step_s_end_is_not_taken_for_that_of_the_next(events: DockerEvents, daemon: Daemon) -> None:
    events.await_end("a")
    # The next step was asked for before the news of the end of the one before it came.
    await daemon.tell("die", "a", 1, exitCode="0")
    await daemon.tell("start", "a", 2)
    await daemon.tell("die", "a", 3, exitCode="5")
    assert (await told(events.end_of("a")))["State"]["ExitCode"] == 5


async def test_messages_are_understood_wherever_they_are_split(events: DockerEvents, daemon: Daemon) -> None:
    events.await_end("a")
    content = event("start", "a", 1) + event("die", "a", 2, exitCode="4") + event("die", "b", 2, exitCode="1")
    for place in range(0, len(content), 7):
        await daemon.say("container", content[place : place + 7])
    assert (await told(events.end_of("a")))["State"]["ExitCode"] == 4
    assert events.end_of("b") is None


async def test_a_container_is_known_by_its_id_too(events: DockerEvents, daemon: Daemon) -> None:
    events.await_end("id-of-a")
    await daemon.tell("start", "a", 1)
    await daemon.tell("die", "a", 2, exitCode="0")
    assert (await told(events.end_of("id-of-a")))["State"]["ExitCode"] == 0


async def test_who_waits_while_the_line_is_lost_is_told_that_nothing_will_come(events: DockerEvents, daemon: Daemon) -> None:
    events.await_end("a")
    end = events.end_of("a")
    assert end is not None
    daemon.hang_up()
    await asyncio.wait({end}, timeout=5)
    assert end.cancelled()
    assert not was_told(end)

    await heard(events, daemon)
    events.await_end("a")
    await daemon.tell("start", "a", 1)
    await daemon.tell("die", "a", 2, exitCode="0")
    assert (await told(events.end_of("a")))["State"]["ExitCode"] == 0


async def test_words_that_can_not_be_understood_only_lose_the_line(events: DockerEvents, daemon: Daemon) -> None:
    events.await_end("a")
    end = events.end_of("a")
    await daemon.say("container", b"{}\n")
    assert end is not None
    await asyncio.wait({end}, timeout=5)
    assert end.cancelled()
    await heard(events, daemon)


async def test_nobody_waits_for_what_is_not_listened_to(tmp_path: Path) -> None:
    connection = DockerConnection(str(tmp_path / "absent.sock"))
    events = DockerEvents(connection, Identity("hub", "runner"))
    events.begin()
    events.await_end("a")
    assert events.end_of("a") is None
    await events.close()
    await events.close()
    await connection.close()


async def test_changes_of_images_are_passed_on_and_so_is_that_some_may_have_been_missed(
    events: DockerEvents, daemon: Daemon
) -> None:
    changes = 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    events.images_changed = changed
    await daemon.say("image", b'{"Type": "image", "Action": "tag"}\n')

    async def seen() -> int:
        return changes

    await eventually(seen, lambda count: count == 1)
    daemon.hang_up()
    await eventually(seen, lambda count: count >= 2)
