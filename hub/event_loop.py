"""Which event loop a process runs on: uvloop where it is installed, else Python's own."""

import asyncio
from collections.abc import Callable, Coroutine
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from hub.errors import SettingsError

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class EventLoop(StrEnum):
    """What to run on."""

    #: uvloop where it is installed.
    AUTO = "auto"
    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"


def run(coroutine: Coroutine[Any, Any, T], wanted: EventLoop = EventLoop.ASYNCIO) -> T:
    """Run a coroutine to its end on a loop of its own.

    Raises:
        SettingsError: uvloop is wanted and not installed.
    """
    try:
        factory = _factory(wanted)
    except BaseException:
        coroutine.close()
        raise
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def _factory(wanted: EventLoop) -> LoopFactory | None:
    """What makes the loop; ``None`` for Python's own."""
    if wanted is EventLoop.ASYNCIO:
        return None
    if find_spec("uvloop") is None:
        if wanted is EventLoop.UVLOOP:
            raise SettingsError(
                "HUB_EVENT_LOOP says uvloop, which is not installed: pip install 'pyexecutorhub[fast]', or leave it at auto"
            )
        return None
    factory: LoopFactory = import_module("uvloop").new_event_loop
    return factory
