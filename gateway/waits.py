"""Requests that wait for the end of an execution: a bounded number, each with a limit, all let go when the gateway stops."""

import asyncio

import structlog

from gateway.ports import Endings

#: Longest wait that a request may ask for, in seconds.
MAX_WAIT_SECONDS = 300
#: Requests that may wait at the same time; further ones are answered at once.
MAX_WAITING = 1000
#: Seconds beyond its time that a wait may take: an ending seen just in time may still wait for its last output.
_GRACE_SECONDS = 10.0

log = structlog.get_logger()


class Waits:
    """Waits for endings on behalf of requests."""

    def __init__(self, endings: Endings, *, max_waiting: int = MAX_WAITING) -> None:
        self._endings = endings
        self._max_waiting = max_waiting
        self._limits: set[asyncio.Timeout] = set()
        self._closed = False

    async def ended(self, execution_id: str, seconds: float) -> bool:
        """Whether the execution's end was seen, and the view shows it, within the time."""
        if self._closed or seconds <= 0 or len(self._limits) >= self._max_waiting:
            return False
        limit = asyncio.timeout(seconds + _GRACE_SECONDS)
        try:
            async with limit:
                self._limits.add(limit)
                return await self._endings.wait(execution_id, seconds)
        except TimeoutError:
            return False
        except Exception:
            # The execution is accepted whatever happens to the wait, and its caller must hear that.
            log.exception("a wait for an ending failed", action="wait_failed", execution_id=execution_id)
            return False
        finally:
            self._limits.discard(limit)

    def close(self) -> None:
        """End all waits now, as if their time were over."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now)
