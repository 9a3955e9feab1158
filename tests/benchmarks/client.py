"""A user of the HTTP interface who looks at the clock."""

import time
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from tests.support.api import Api
from tests.support.hub_process import HubProcess

_LIMIT_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Answer:
    """The terminal record of an execution, and when it was asked for and had, by the monotonic clock in nanoseconds."""

    record: dict[str, Any]
    asked_ns: int
    answered_ns: int

    @property
    def took_ms(self) -> float:
        """From the request to the terminal record."""
        return (self.answered_ns - self.asked_ns) / 1e6


class Client:
    """One user of one hub. To be used as a context."""

    def __init__(self, hub: HubProcess) -> None:
        self._hub = hub

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(_LIMIT_SECONDS)
        connector = aiohttp.TCPConnector(limit=64)
        self._session = aiohttp.ClientSession(self._hub.address, timeout=timeout, connector=connector)
        self.api = Api(self._session)
        await self.api.log_in()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    @property
    def token(self) -> str:
        """What it logs in with."""
        return self._session.headers["Authorization"].removeprefix("Bearer ")

    async def run(self, program: str) -> Answer:
        """Run a program, from ``POST /execute?wait`` to its terminal record.

        Raises:
            AssertionError: it was not run to its end.
        """
        asked = time.monotonic_ns()
        status, _, record = await self.api.call("POST", "/execute?wait=60", {"program_id": program})
        answered = time.monotonic_ns()
        assert status == 200, (status, record)
        return Answer(record, asked, answered)
