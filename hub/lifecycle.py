"""From start to stop of a process: signals, supervised tasks, and who notices when one dies."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import structlog

from hub.errors import HubError, ServiceDied

_log = structlog.get_logger()


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set, inside the context.

    A second signal acts as if nothing had been installed: whoever insists gets their way.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def ask_to_stop(number: signal.Signals) -> None:
        _log.info("stopping", action="stop_requested", signal=number.name)
        stop.set()
        loop.remove_signal_handler(number)

    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, ask_to_stop, number)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


class Supervisor:
    """Owns the long-running tasks of a process: the first to die ends the wait, and leaving the context cancels the rest."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it as a task with this name."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        return task

    async def wait(self, stop: asyncio.Event) -> None:
        """Until ``stop`` is set.

        Raises:
            HubError: one of the tasks ended before that; its own error where that says what to do, else ServiceDied.
        """
        stopped = asyncio.create_task(stop.wait(), name="wait for stop")
        try:
            done, _ = await asyncio.wait({stopped, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        for task in done & self._tasks:
            error = task.exception()
            if isinstance(error, HubError):
                raise error
            raise ServiceDied(task.get_name()) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for task, result in zip(self._tasks, results, strict=True):
            if isinstance(result, Exception):
                _log.error("died while stopping", action="service_died", service=task.get_name(), exc_info=result)
