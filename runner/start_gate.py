"""The gate before Docker: no more starts at once than two for each core of its host, and whoever waits for a result goes first.

A start waits for locks and child processes now and then: with one a core, a sixth of the time of two cores was left unused, and
up to a fifth fewer programs a second came to their end. Beyond two Docker gains little more; each start only takes the longer.

Who waits here waits for a bounded time: every start ahead has its own limit, and there are no more of them than a runner has
slots and a pool has places. The services of a Compose program pass one by one, so that nobody holds a place while one waits for
another. What Compose makes without starting it does not pass here: that is little work, and one call of Compose for many
containers.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum

#: Starts at once for each core.
_STARTS_PER_CORE = 2


class Priority(IntEnum):
    """For what a container is started; a smaller one goes first."""

    #: Somebody waits for it.
    JOB = 0
    #: For a warm pool, to be there when somebody does.
    REFILL = 1


class StartGate:
    """As many starts at once as there are places; within a priority in the order in which they came."""

    def __init__(self, places: int | None = None) -> None:
        """Without ``places`` the cores decide: this machine's, until :meth:`learn_cores` tells the engine's."""
        self._is_fixed = places is not None
        self._places = places or _STARTS_PER_CORE * (os.cpu_count() or 1)
        self._taken = 0
        self._waiting: dict[Priority, deque[asyncio.Future[None]]] = {priority: deque() for priority in Priority}

    @property
    def places(self) -> int:
        """How many may start at once."""
        return self._places

    @property
    def refills(self) -> int:
        """How many of them a pool may take: half, so that a program that comes meanwhile starts at once."""
        return (self._places + 1) // 2

    @property
    def taken(self) -> int:
        """How many are starting right now."""
        return self._taken

    def learn_cores(self, cores: int) -> None:
        """The engine's host has so many cores. It changes nothing where the number of places was given."""
        if not self._is_fixed and cores > 0:
            self._places = _STARTS_PER_CORE * cores
            self._admit()

    def waiting(self, priority: Priority) -> int:
        """How many of this priority wait for a place."""
        return len(self._waiting[priority])

    @asynccontextmanager
    async def start(self, priority: Priority = Priority.JOB) -> AsyncIterator[None]:
        """A place, for as long as one container is made or started. Who is cancelled while waiting takes nobody's place."""
        await self._enter(priority)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, priority: Priority) -> None:
        if self._taken < self._places:  # then nobody waits
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[priority].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._leave()  # its turn had come in the same moment
            elif turn in self._waiting[priority]:
                self._waiting[priority].remove(turn)
            raise

    def _leave(self) -> None:
        self._taken -= 1
        self._admit()

    def _admit(self) -> None:
        for _, queue in sorted(self._waiting.items()):
            while queue and self._taken < self._places:
                if not (turn := queue.popleft()).cancelled():
                    turn.set_result(None)
                    self._taken += 1
