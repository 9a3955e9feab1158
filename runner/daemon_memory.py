"""What Docker's daemon remembers of its own life: the last events, which are forgotten with it."""

import json
import time
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

#: Events that every version of Docker keeps at least; newer ones keep four times as many.
_EVENTS_KEPT = 64


class DaemonMemory:
    """The memory of the daemon that a session talks to."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def may_know(self, container_id: str) -> bool:
        """Whether something has happened to this container in this life, as far as that can be told."""
        events = await self._all()
        # It keeps so many: one that is full may have forgotten.
        return events is None or len(events) >= _EVENTS_KEPT or any(_is_about(event, container_id) for event in events)

    async def has_seen_the_end(self, container_id: str, finished_at: datetime) -> bool | None:
        """Whether this life saw the end of a container, which came at this time; ``None`` where that can't be told.

        To be asked once Docker calls the container ended. It is quick where it did see it, else it takes up to two seconds.
        """
        second = await self._second()
        now = min(max(time.time(), second), second + 1)
        wanted = {"type": ["container"], "container": [container_id], "event": ["die"]}
        if await self._events(until=f"{now:.6f}", filters=json.dumps(wanted)):
            return True
        if (events := await self._all()) is None:
            return None
        if any(_is_about(event, container_id) and event["Action"] == "die" for event in events):
            return True
        reaches_back = len(events) < _EVENTS_KEPT or min(event["timeNano"] for event in events) / 1e9 < finished_at.timestamp()
        return False if reaches_back else None

    async def _second(self) -> int:
        """Its clock, which is told in whole seconds."""
        async with self._session.get("/_ping") as answer:
            return int(parsedate_to_datetime(answer.headers["Date"]).timestamp())

    async def _all(self) -> list[dict[str, Any]] | None:
        """To the end of this second, which may have seen the last one; ``None`` where it may not be asked."""
        return await self._events(until=str(await self._second() + 1))

    async def _events(self, **parameters: str) -> list[dict[str, Any]] | None:
        async with self._session.get("/events", params={"since": "1", **parameters}) as answer:
            return [json.loads(line) for line in (await answer.read()).splitlines()] if answer.status == 200 else None


def _is_about(event: Mapping[str, Any], container_id: str) -> bool:
    return bool(event.get("Actor", {}).get("ID") == container_id)
