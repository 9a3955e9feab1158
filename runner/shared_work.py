"""Work that many may wait for and that is done once: it goes on while one of them still waits."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from runner.preparation import Listener, Stage

T = TypeVar("T")

#: Takes in how far the work has come.
Progressing = Callable[[Stage], None]

#: Seconds between two stages that one waiter is told; those in between are passed over.
_TELL_SECONDS = 1.0


@dataclass
class _Job(Generic[T]):
    stage: Stage
    task: asyncio.Task[T]
    waiting: int = 0


class SharedWork(Generic[T]):
    """Work by key."""

    def __init__(self, *, tell_seconds: float = _TELL_SECONDS) -> None:
        self._tell_seconds = tell_seconds
        self._jobs: dict[str, _Job[T]] = {}

    async def join(
        self, key: str, begin: Callable[[Progressing], Coroutine[Any, Any, T]], first: Stage, listener: Listener
    ) -> T:
        """The result of the work under this key, which ``begin`` starts where nobody has. The listener hears of its stages.

        Raises:
            Exception: whatever the work raised.
        """
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = self._begun(key, begin, first)
        job.waiting += 1
        try:
            await self._follow(job, listener)
            return job.task.result()
        finally:
            job.waiting -= 1
            if job.waiting == 0:
                # Whoever comes now begins anew, rather than joining work that failed or is being cancelled.
                if self._jobs.get(key) is job:
                    del self._jobs[key]
                job.task.cancel()
                await asyncio.gather(job.task, return_exceptions=True)

    def _begun(self, key: str, begin: Callable[[Progressing], Coroutine[Any, Any, T]], first: Stage) -> _Job[T]:
        def progress(stage: Stage) -> None:
            job.stage = stage

        job = _Job(first, asyncio.create_task(begin(progress), name=f"{first.phase.value} {key}"))
        return job

    async def _follow(self, job: _Job[T], listener: Listener) -> None:
        """Tell the latest stage, and the next one when it is due, until the work is done."""
        told: Stage | None = None
        while not job.task.done():
            if job.stage != told:
                told = job.stage
                await listener.progress(told)
            await asyncio.wait({job.task}, timeout=self._tell_seconds)
