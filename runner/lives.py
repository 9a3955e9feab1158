"""The executions that a runner has in hand."""

import asyncio
import time
from contextlib import suppress

import structlog

from bus.ports import Decisions
from runner.cancels import Cancels
from runner.errors import Interrupted
from runner.execution import Execution, Fate
from runner.slots import Slots
from runner.standing import Standing
from runner.waiting import cancel, unless
from schemas.failpoints import failpoint

log = structlog.get_logger()

#: Seconds after an end before its container is removed, and the most seconds that this waits for others to end as well.
_CALM_SECONDS, _LONGEST_WAIT_FOR_CALM_SECONDS = 0.03, 0.25
#: Seconds at the end to let go of programs, and to finish stopping and removing what was being stopped or removed.
_DETACH_SECONDS = 1.0


class Lives:
    """Each execution's task from its beginning until nothing of it is left here. All hear of ends that others ask for."""

    def __init__(self, decisions: Decisions, *, slots: Slots, standing: Standing, stopping: asyncio.Event) -> None:
        """``stopping`` is set when the runner is asked to stop."""
        self.cancels = Cancels(decisions, lambda: self.in_hand)
        self._slots = slots
        self._standing = standing
        self._stopping = stopping
        self._tasks: dict[asyncio.Task[None], Execution] = {}
        self._candidates: set[Execution] = set()

    @property
    def in_hand(self) -> list[Execution]:
        """All of them, and those that will be lived if they turn out to be this runner's."""
        return [*self._tasks.values(), *self._candidates]

    def consider(self, life: Execution) -> asyncio.Task[None]:
        """It may turn out to be this runner's, and hears of ends from here on. The task tells it of one that came before."""
        self._candidates.add(life)
        return self._tell_of_ends(life)

    def decided(self, life: Execution) -> None:
        """It has begun, or will not."""
        self._candidates.discard(life)

    def begin(
        self,
        life: Execution,
        group: asyncio.TaskGroup,
        telling: asyncio.Task[None] | None = None,
        *,
        taken_up: bool = False,
    ) -> bool:
        """Begin to live it, in a slot that was taken for it; false where its epoch is over, and nothing was begun. ``telling``
        is done once it was told of an end that came before it was in hand.
        """
        if self._standing.is_over(life.epoch):
            return False
        self._keep(group.create_task(self._live(life, telling, taken_up=taken_up), name=f"execution {life.name}"), life)
        return True

    def drop(self, life: Execution, group: asyncio.TaskGroup) -> None:
        """It is not to be run here: remove what was made ready for it, and its claim."""
        self._keep(group.create_task(life.clean_up(), name=f"drop {life.name}"), life)

    async def abandon(self) -> None:
        """Let go of everything in hand at once, as if this process had died."""
        await cancel(*self._tasks)

    async def wind_down(self, limit_seconds: float) -> None:
        """Let what runs come to an end by itself within the limit, and let go of what does not."""
        for life in self._tasks.values():
            life.do_not_start()
        await self._wait(limit_seconds)
        for life in self._tasks.values():
            life.detach()
        failpoint("runner.let_go")
        letting_go = max((life.seconds_to_let_go for life in self._tasks.values()), default=0.0)
        await self._wait(letting_go + _DETACH_SECONDS)
        if self._tasks:
            log.error("executions are left to the next start", action="stop_incomplete", executions=len(self._tasks))
            await cancel(*self._tasks)

    def _keep(self, task: asyncio.Task[None], life: Execution) -> None:
        self._tasks[task] = life
        task.add_done_callback(self._tasks.pop)

    def _tell_of_ends(self, life: Execution) -> asyncio.Task[None]:
        return asyncio.create_task(self.cancels.tell(life), name=f"ends of {life.name}")

    async def _live(self, life: Execution, telling: asyncio.Task[None] | None, *, taken_up: bool) -> None:
        if telling is None:
            # It is among those that hear of ends by now, so none is missed in between.
            telling = self._tell_of_ends(life)
        try:
            if taken_up:
                await telling
            fate = await (life.go_on() if taken_up else life.run(telling))
        finally:
            self._slots.give_back()
            await cancel(telling)
        if fate in (Fate.ENDED, Fate.LOST):
            await self._until_calm()
            await life.clean_up()

    async def _until_calm(self) -> None:
        """Wait a moment before a container is removed: news of an end, and what else runs, want the same cores."""
        with suppress(Interrupted):
            await unless(self._stopping, asyncio.sleep(_CALM_SECONDS))
            await unless(self._stopping, self._slots.wait_idle(_LONGEST_WAIT_FOR_CALM_SECONDS))

    async def _wait(self, limit_seconds: float) -> None:
        give_up_at = time.monotonic() + limit_seconds
        while self._tasks and (left := give_up_at - time.monotonic()) > 0:
            await asyncio.wait(set(self._tasks), timeout=left)
