"""Which life of Docker's daemon this is, asked over a new connection each time. See runner.daemon_lives for why."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from runner.daemon_lives import GONE, ContainerLife, DaemonLife, DaemonLives
from runner.daemon_memory import DaemonMemory
from runner.errors import EngineUnavailable

_LOOK_SECONDS = 10.0
#: A unix socket says at once whether somebody listens, unless too many wait for that already.
_CONNECT_SECONDS = 1.0
#: Docker that is older calls an end that it makes up a success at times.
_MAKES_UP_FAILURES_ONLY = (24, 0, 3)
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
#: A network that the daemon makes anew at each start, unless containers that have outlived the one before are still on it.
_MADE_AT_THE_START = "bridge"


class DockerDaemon:
    """The daemon behind a unix socket, and what is known of its lives."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._lives = DaemonLives()
        #: As it was when it was seen last; ``None`` where it was not seen since it was missed.
        self._current: DaemonLife | None = None

    @property
    def life(self) -> datetime | None:
        """When the daemon that was seen last came up, by its own clock; ``None`` where it was missed since or does not tell."""
        return None if self._current is None else self._current.started_at

    async def see(self) -> None:
        """See that it takes new connections, and which life of it that is.

        A daemon that tells nothing about itself (a proxy may keep it from that, or it has no bridge) has only one life.

        Raises:
            EngineUnavailable: it takes none, or does not answer in time.
        """
        async with self._asking():
            seen = await self._look()
        self._current = seen
        if seen is not None:
            self._lives.see(seen, datetime.now(UTC))

    async def note_absence(self) -> None:
        """Take note where nobody listens: of a program that ends then, the next daemon hears how it did."""
        at = datetime.now(UTC)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, writer = await asyncio.open_unix_connection(self._socket_path)
        except (ConnectionRefusedError, FileNotFoundError):
            self._lives.miss(at)
        except OSError:  # nothing is known: it is busy, or out of reach
            return
        else:
            writer.close()

    async def has_ended(self, container: Mapping[str, Any]) -> bool:
        """Whether a restart of the daemon, and not the program, made the end of a container that was started and does not run.

        Raises:
            EngineUnavailable: it is just being stopped, or away.
        """
        state = container["State"]
        if state["ExitCode"] == GONE:
            self._current = None  # live-restore may have been set since, without a restart
        await self.see()
        started_at, finished_at = _time(state["StartedAt"]), _time(state["FinishedAt"])
        if started_at is None or finished_at is None:
            return True  # it knows of no such run
        life = ContainerLife(started_at, finished_at, state["ExitCode"])
        if self._lives.may_have_made_up(life):
            async with self._asking(), self._session() as session:
                was_witnessed = await DaemonMemory(session).has_seen_the_end(container["Id"], finished_at)
            life = replace(life, was_witnessed=was_witnessed)
        return self._lives.may_have_ended(life)

    async def has_made(self, container: Mapping[str, Any]) -> bool:
        """Whether this life of the daemon made a container, so that it knows of all that was done with it.

        One that died while it started a container was seen to leave the program running, and the next one to call the
        container created: started again, it ran twice.

        Raises:
            EngineUnavailable: it is away, or does not answer in time.
        """
        await self.see()
        made_at = _time(container["Created"])
        if self._current is not None and made_at is not None and made_at < self._current.started_at:
            return False
        async with self._asking(), self._session() as session:
            return await DaemonMemory(session).may_know(container["Id"])

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(self._socket_path))

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                yield
        except TimeoutError as error:
            self._current = None
            raise EngineUnavailable(f"Docker did not answer within {_LOOK_SECONDS} s (a new connection)") from error
        except (aiohttp.ClientError, OSError) as error:
            self._current = None
            await self.note_absence()
            raise EngineUnavailable(f"Docker takes no new connection: {error or type(error).__name__}") from error

    async def _look(self) -> DaemonLife | None:
        async with self._session() as session:
            async with session.get(f"/networks/{_MADE_AT_THE_START}") as answer:
                if answer.status != 200:
                    return None
                try:
                    started_at = _time((await answer.json())["Created"])
                    seen_at = parsedate_to_datetime(answer.headers["Date"])
                except (KeyError, ValueError):
                    return None
            if started_at is None:
                return None
            if self._current is not None and self._current.started_at == started_at:
                return replace(self._current, seen_at=seen_at)
            async with session.get("/info") as answer:
                info = await answer.json() if answer.status == 200 else {}
            keeps = bool(info.get("LiveRestoreEnabled"))
            return DaemonLife(started_at, keeps, seen_at, made_up_codes(str(info.get("ServerVersion"))))


def made_up_codes(version: str) -> frozenset[int]:
    """The exit codes that Docker of this version gives to containers whose end it makes up."""
    known = _VERSION.match(version)
    if known is not None and tuple(map(int, known.groups())) < _MAKES_UP_FAILURES_ONLY:
        return frozenset({GONE, 0})
    return frozenset({GONE})


def _time(text: str) -> datetime | None:
    """A time as Docker writes it, in nanoseconds, which are cut off here; ``None`` for its word for never."""
    time = datetime.fromisoformat(text)
    return None if time.year == 1 else time.astimezone(UTC)
