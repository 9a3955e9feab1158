"""What is told of a program's end, by what daemons were seen to say: bodies of 26.1.5 and 20.10.24 with live-restore."""

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from runner.docker_daemon import DockerDaemon, made_up_codes

CONTAINER = "70ec89160fa81dbad112cfa2fb24cffd18029e39560a5e83fec0e2560f4a48fe"


class SaidDaemon:
    """A daemon that says what it is told to."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "docker.sock"
        self.bridge_made = "2026-11-25T19:08:35.779265889Z"
        self.info: dict[str, Any] = {"LiveRestoreEnabled": True, "ServerVersion": "26.1.5+dfsg1"}
        self.events: list[dict[str, Any]] = []
        self.tells_events = True
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/networks/bridge", self._bridge)
        app.router.add_get("/info", self._info)
        app.router.add_get("/_ping", self._ping)
        app.router.add_get("/events", self._events)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def end(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None
        self.events.clear()

    async def _bridge(self, _: web.Request) -> web.Response:
        return self._dated({"Created": self.bridge_made})

    async def _info(self, _: web.Request) -> web.Response:
        return self._dated(self.info)

    async def _ping(self, _: web.Request) -> web.Response:
        return self._dated("OK")

    async def _events(self, request: web.Request) -> web.Response:
        if not self.tells_events:
            return web.Response(status=403)
        wanted = json.loads(request.query.get("filters", "{}"))
        told = [
            event
            for event in self.events
            if event["timeNano"] / 1e9 <= float(request.query["until"])
            and event["Type"] in wanted.get("type", [event["Type"]])
            and event["Action"] in wanted.get("event", [event["Action"]])
            and event["Actor"]["ID"] in wanted.get("container", [event["Actor"]["ID"]])
        ]
        return web.Response(text="".join(json.dumps(event) + "\n" for event in told))

    def _dated(self, body: Any) -> web.Response:
        return web.json_response(body, headers={"Date": format_datetime(datetime.now(UTC), usegmt=True)})


@pytest.fixture
async def said(tmp_path: Path) -> AsyncIterator[SaidDaemon]:
    daemon = SaidDaemon(tmp_path)
    await daemon.start()
    yield daemon
    await daemon.end()


def container(started_at: str, finished_at: str, code: int = 255) -> dict[str, Any]:
    """As it is inspected; these are all fields of its state."""
    flags = dict.fromkeys(("Running", "Paused", "Restarting", "OOMKilled", "Dead"), False)
    state = {"Status": "exited", **flags, "Pid": 0, "ExitCode": code, "Error": "", "StartedAt": started_at}
    return {"Id": CONTAINER, "State": {**state, "FinishedAt": finished_at}}


def event(action: str, time_nano: int, container_id: str = CONTAINER) -> dict[str, Any]:
    """Of those fields that are asked for."""
    attributes = {"execDuration": "0", "exitCode": "255"} if action == "die" else {}
    actor = {"ID": container_id, "Attributes": {**attributes, "image": "pyexecutorhub-test-python:local", "name": "live"}}
    return {"Type": "container", "Action": action, "Actor": actor, "time": time_nano // 10**9, "timeNano": time_nano}


#: Its program exited with 7 before the daemon was killed at :44.26; the next one answered at :45.12, and the bridge stayed.
LOST = container("2026-11-25T19:08:43.786328092Z", "2026-11-25T19:08:44.634006982Z")
#: The same with 20.10.24: killed at :51.71, back at :52.67.
LOST_AS_SUCCESS = container("2026-11-25T19:09:50.911283914Z", "2026-11-25T19:09:51.999641671Z", code=0)
#: The machine lost its power at 19:25:58.7, and its daemon was up at 19:26:03.98 with a new bridge.
POWER_LOST = container("2026-11-25T19:25:58.247397994Z", "2026-11-25T19:26:03.037143505Z")
#: Its program exited with 255, and the daemon said so a second later.
OWN = container("2026-11-25T19:25:44.892684616Z", "2026-11-25T19:25:45.016621207Z")
OWN_DEATH = event("die", 1795634746089841944)
#: Its program exited with 255 while there was no daemon.
UNSEEN = container("2026-11-25T19:25:48.670483549Z", "2026-11-25T19:25:50.711996769Z")


async def test_fault13_an_end_that_no_daemon_has_seen_is_its_restarts_although_nothing_else_shows_one(said: SaidDaemon) -> None:
    daemon = DockerDaemon(str(said.socket))
    await daemon.see()
    said.events.append(event("die", 1795633725000000000, "another"))
    assert await daemon.has_ended(LOST)
    said.bridge_made = "2026-11-25T19:26:03.601546917Z"
    assert await daemon.has_ended(POWER_LOST)


async def test_fault13_a_program_that_exits_with_255_while_the_daemon_lives_has_done_so_itself(said: SaidDaemon) -> None:
    said.events.append(OWN_DEATH)
    assert not await DockerDaemon(str(said.socket)).has_ended(OWN)


async def test_fault13_word_of_a_death_may_come_after_the_first_look(said: SaidDaemon) -> None:
    # The daemon's clock is told in whole seconds: only one that is asked to the end of this one has told all.
    said.events.append(event("die", (int(time.time()) + 1) * 10**9))
    assert not await DockerDaemon(str(said.socket)).has_ended(OWN)


@pytest.mark.parametrize(("version", "restarted"), [("20.10.24+dfsg1", True), ("26.1.5+dfsg1", False)])
async def test_fault13_docker_that_calls_a_lost_end_a_success_is_not_believed(
    said: SaidDaemon, version: str, restarted: bool
) -> None:
    said.info["ServerVersion"] = version
    assert await DockerDaemon(str(said.socket)).has_ended(LOST_AS_SUCCESS) is restarted
    said.events.append(event("die", 1795633792033540488))
    assert not await DockerDaemon(str(said.socket)).has_ended(LOST_AS_SUCCESS)


async def test_fault13_what_ended_while_nobody_listened_is_the_programs_own(said: SaidDaemon) -> None:
    daemon = DockerDaemon(str(said.socket))
    await daemon.see()
    await said.end()
    finished_at = datetime.now(UTC).isoformat()
    await daemon.note_absence()
    await said.start()
    assert not await daemon.has_ended(container("2026-11-25T19:08:43.786328092Z", finished_at))
    # What the next daemon found gone as it started has an end that is later than that.
    assert await daemon.has_ended(container("2026-11-25T19:08:43.786328092Z", datetime.now(UTC).isoformat()))


async def test_fault13_what_ended_while_nobody_looked_is_the_restarts(said: SaidDaemon) -> None:
    assert await DockerDaemon(str(said.socket)).has_ended(UNSEEN)


@pytest.mark.parametrize("oldest", [1795634744916960801, 1795634745794526148])
async def test_fault13_a_full_memory_counts_as_far_as_it_reaches_back(said: SaidDaemon, oldest: int) -> None:
    said.events += [event("start", oldest + number, "another") for number in range(256)]
    reaches_back = oldest < 1795634745016621207
    # Else it is believed, since nothing speaks for a restart at that time.
    assert await DockerDaemon(str(said.socket)).has_ended(OWN) is reaches_back


@pytest.mark.parametrize(("bridge_made", "restarted"), [("2026-11-25T19:08:35.779265889Z", False), (None, True)])
async def test_fault13_where_events_are_not_told_the_bridge_is_all_there_is(
    said: SaidDaemon, bridge_made: str | None, restarted: bool
) -> None:
    said.tells_events = False
    said.bridge_made = bridge_made or "2026-11-25T19:26:03.601546917Z"
    assert await DockerDaemon(str(said.socket)).has_ended(POWER_LOST) is restarted


async def test_fault13_live_restore_that_was_set_without_a_restart_is_noticed_in_time(said: SaidDaemon) -> None:
    said.info["LiveRestoreEnabled"] = False
    daemon = DockerDaemon(str(said.socket))
    await daemon.see()
    said.info["LiveRestoreEnabled"] = True
    assert await daemon.has_ended(LOST)


async def test_fault14_a_container_of_whose_run_docker_knows_nothing_was_not_ended_by_its_program(said: SaidDaemon) -> None:
    never = "0001-01-01T00:00:00Z"
    assert await DockerDaemon(str(said.socket)).has_ended(container(never, never, code=0))


@pytest.mark.parametrize(
    ("version", "codes"),
    [
        ("19.03.15", {0, 255}),
        ("20.10.24+dfsg1", {0, 255}),
        ("24.0.2", {0, 255}),
        ("24.0.3", {255}),
        ("28.2.2", {255}),
        ("dev", {255}),
    ],
)
def test_fault13_what_docker_makes_up_depends_on_its_version(version: str, codes: set[int]) -> None:
    assert made_up_codes(version) == codes
