"""Which life of Docker's daemon this is, asked over a new connection each time. See runner.daemon_lives for why."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from runner.daemon_lives import ContainerLife, DaemonLife, DaemonLives
from runner.errors import EngineUnavailable

_LOOK_SECONDS = 10.0
#: Events that every version of Docker keeps at least; newer ones keep four times as many.
_EVENTS_KEPT = 64
#: A network that the daemon makes anew at each start, unless containers that have outlived the one before are still on it.
_MADE_AT_THE_START = "bridge"


class DockerDaemon:
    """The daemon behind a unix socket, and what is known of its lives."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._lives = DaemonLives()
        #: As it was when it was seen last; ``None`` where it was not seen since it was missed.
        self._current: DaemonLife | None = None

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
            self._lives.see(seen)

    async def has_ended(self, state: Mapping[str, Any]) -> bool:
        """Whether a restart of the daemon, and not the program, made the end of a container with this ``State``.

        Raises:
            EngineUnavailable: it is just being stopped, or away.
        """
        await self.see()
        started_at, finished_at = _time(state["StartedAt"]), _time(state["FinishedAt"])
        if started_at is None or finished_at is None:
            return False
        return self._lives.may_have_ended(ContainerLife(started_at, finished_at, state["ExitCode"]))

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
        return await self._may_remember(container["Id"])

    async def _may_remember(self, container_id: str) -> bool:
        async with self._asking(), self._session() as session:
            async with session.get("/_ping") as answer:
                now = int(parsedate_to_datetime(answer.headers["Date"]).timestamp())
            # To the end of this second, which may have seen it made.
            async with session.get("/events", params={"since": "1", "until": str(now + 1)}) as answer:
                if answer.status != 200:
                    return True
                events = [json.loads(line) for line in (await answer.read()).splitlines()]
        # It keeps so many: one that is full may have forgotten.
        return len(events) >= _EVENTS_KEPT or any(event.get("Actor", {}).get("ID") == container_id for event in events)

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
                keeps = answer.status == 200 and bool((await answer.json()).get("LiveRestoreEnabled"))
            return DaemonLife(started_at, keeps, seen_at)


def _time(text: str) -> datetime | None:
    """A time as Docker writes it, in nanoseconds, which are cut off here; ``None`` for its word for never."""
    time = datetime.fromisoformat(text)
    return None if time.year == 1 else time.astimezone(UTC)
