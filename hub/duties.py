"""What the holder of the announcer's lock does besides announcing, all at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Duty = Callable[[], Coroutine[Any, Any, None]]


def together(*duties: Duty) -> Duty:
    """One duty of several, until one of them fails, which ends the others too."""

    async def run() -> None:
        tasks = [asyncio.create_task(duty()) for duty in duties]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return run
