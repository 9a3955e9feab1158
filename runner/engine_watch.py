"""Whether the engine answers."""

import asyncio
import contextlib
import time
from pathlib import Path

import structlog

from runner.engine import Engine
from runner.errors import EngineUnavailable

log = structlog.get_logger()

_PAUSE_SECONDS = 5.0
#: Seconds for which an answer is good enough to take work by. Asking costs some milliseconds each time.
FRESH_SECONDS = 2.0
_PAUSE_WHILE_AWAY_SECONDS = 0.5


class EngineWatch:
    """Asks the engine now and then, and says so aloud when it goes away and when it is back."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: Set while the engine answers.
        self.available = asyncio.Event()
        #: Set while it does not; neither is set before the first answer.
        self.away = asyncio.Event()
        #: What is wrong, for people; ``None`` where nothing is.
        self.problem: str | None = None
        #: The engine's name and version; ``None`` before its first answer.
        self.version: str | None = None
        #: Where it keeps containers and images, on its own host; ``None`` where it has not said so.
        self.data_root: Path | None = None
        #: When it answered last, by the monotonic clock.
        self._answered_at = float("-inf")
        #: Set when an answer will be wanted soon.
        self._wanted = asyncio.Event()
        #: Whether it is to be asked that again.
        self._root_is_open = True

    async def run(self) -> None:
        """Watch, for ever."""
        while True:
            # Cleared first: somebody else's check may find it gone meanwhile.
            self._wanted.clear()
            if await self.check():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE_SECONDS):
                        await self._wanted.wait()
                # While a lot of work comes in, not for each piece.
                await asyncio.sleep(max(0.0, self._answered_at + FRESH_SECONDS / 2 - time.monotonic()))
            else:
                await asyncio.sleep(_PAUSE_WHILE_AWAY_SECONDS)

    async def check_for_work(self) -> bool:
        """Whether it answers, or did a moment ago. While work comes in, it is asked beside that and not before each piece."""
        self._wanted.set()
        is_fresh = time.monotonic() - self._answered_at < FRESH_SECONDS
        return (self.available.is_set() and is_fresh) or await self.check()

    async def check(self) -> bool:
        """Ask now."""
        try:
            self.version = await self._engine.ping()
            if not self.available.is_set() or self._root_is_open:
                await self._ask_for_root()
        except EngineUnavailable as error:
            if not self.away.is_set():
                log.error("engine unavailable, taking no work until it answers", action="engine_away", error=str(error))
            self.problem = str(error)
            self.available.clear()
            self.away.set()
            self._wanted.set()
            return False
        if not self.available.is_set():
            log.info("engine answers", action="engine_available")
        self.problem = None
        self._answered_at = time.monotonic()
        self.away.clear()
        self.available.set()
        return True

    async def _ask_for_root(self) -> None:
        # An engine that answers this too late can run programs all the same.
        try:
            self.data_root = await self._engine.data_root()
        except EngineUnavailable as error:
            self._root_is_open = True
            log.info("the engine does not say where its data are", action="engine_root_unknown", error=str(error))
        else:
            self._root_is_open = False
