"""Which life of Docker's daemon this is, asked over a new connection each time. See runner.daemon_lives for why."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from runner.daemon_lives import ContainerLife, DaemonLife, DaemonLives
from runner.errors import EngineUnavailable

_LOOK_SECONDS = 10.0
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
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                seen = await self._look()
        except TimeoutError as error:
            self._current = None
            raise EngineUnavailable(f"Docker did not answer within {_LOOK_SECONDS} s (a new connection)") from error
        except (aiohttp.ClientError, OSError) as error:
            self._current = None
            raise EngineUnavailable(f"Docker takes no new connection: {error or type(error).__name__}") from error
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

    async def _look(self) -> DaemonLife | None:
        async with aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(self._socket_path)) as session:
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
