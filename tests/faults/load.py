"""Executions asked for over HTTP without a pause while something breaks, and what became of them."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import aiohttp

from bus.errors import BusUnavailable
from bus.ports import Bus
from schemas.events import Ended, parse_event
from schemas.progress_events import PROGRESS_KEYS
from tests.support.api import Api
from tests.support.hub_process import HubProcess

#: Seconds between two requests to one gateway.
_EVERY_SECONDS = 0.1


@dataclass
class Load:
    """Requests to some gateways, in turn for ever, each with a limit."""

    program: str = "example"
    #: Ids that were answered with 202.
    accepted: set[str] = field(default_factory=set)
    #: Ids whose outcome is unknown: they may run, or not.
    unknown: set[str] = field(default_factory=set)
    #: By status: how many answers.
    answers: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    #: Seconds of the slowest answer.
    slowest_seconds: float = 0.0
    #: By gateway: monotonic times of its 202s, in order.
    accepted_at: dict[str, list[float]] = field(default_factory=dict)
    _stopping: bool = False

    @asynccontextmanager
    async def on(self, *hubs: HubProcess) -> AsyncIterator[None]:
        """Ask these gateways inside the context."""
        self.accepted_at = {hub.address: [] for hub in hubs}
        tasks = [asyncio.create_task(self._ask(hub), name=f"load on {hub.address}") for hub in hubs]
        try:
            yield
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)

    async def _ask(self, hub: HubProcess) -> None:
        async with aiohttp.ClientSession(hub.address, timeout=aiohttp.ClientTimeout(30)) as session:
            api = Api(session)
            await api.log_in()
            while not self._stopping:
                asked_at = time.monotonic()
                status, headers, body = await api.call("POST", "/execute", {"program_id": self.program})
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - asked_at)
                self.answers[status] += 1
                if status == 202:
                    self.accepted.add(body["execution_id"])
                    self.accepted_at[hub.address].append(time.monotonic())
                else:
                    assert status == 503, body
                    assert int(headers["Retry-After"]) > 0
                    if body.get("outcome") == "unknown":
                        self.unknown.add(body["execution_id"])
                await asyncio.sleep(_EVERY_SECONDS)

    def longest_pause(self, since: float) -> float:
        """Seconds of the longest time without a 202 from one gateway, from its last one before ``since`` on."""
        pauses = [0.0]
        for times in self.accepted_at.values():
            counted = [*[at for at in times if at <= since][-1:], *(at for at in times if at > since)]
            pauses += [later - earlier for earlier, later in pairwise(counted)]
        return max(pauses)


@dataclass
class Heard:
    """What a subscriber heard, its repeats of one event apart."""

    #: By execution: the ids of its events, and the status of each, in the order of their first coming.
    events: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    #: Ids of the ending events, by execution.
    endings: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: What came after an ending and had not been heard before it.
    late: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def of(self, bus: Bus, name: str) -> AsyncIterator[None]:
        """Listen, on a subscription of this name, inside the context."""
        opened = asyncio.Event()
        task = asyncio.create_task(self._listen(bus, name, opened), name="subscriber")
        try:
            await asyncio.wait_for(opened.wait(), 20)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self, bus: Bus, name: str, opened: asyncio.Event) -> None:
        while True:
            try:
                async with bus.announcements.subscribe(["execution.#"], name=name) as announcements:
                    opened.set()
                    async for announcement in announcements:
                        if not announcement.key.startswith(PROGRESS_KEYS):
                            self._hear(announcement.message.body)
            except BusUnavailable:
                await asyncio.sleep(0.2)

    def _hear(self, body: bytes) -> None:
        event = parse_event(body)
        known = self.events[event.subject]
        if event.id not in known and self.endings[event.subject]:
            self.late.append(event.id)
        known.setdefault(event.id, event.data.status.value)
        if isinstance(event.data, Ended):
            self.endings[event.subject].add(event.id)

    def ended(self) -> set[str]:
        """Executions whose end was heard."""
        return {execution for execution, endings in self.endings.items() if endings}
