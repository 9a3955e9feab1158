"""What Docker's log of a warm container tells of it, once that can't change any more."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from runner.docker_connection import DockerConnection
from runner.docker_output import DockerOutput
from runner.docker_sight import state_of
from runner.engine import ContainerState
from runner.steps import Step
from runner.warm_plan import WarmPlan
from runner.warm_run import Sighting

#: Seconds in which a container that nobody is attached to any more has begun its job, or has ended.
_SETTLE_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.05

#: What Docker knows of a container by its name.
Inspect = Callable[[str], Awaitable[dict[str, Any]]]


async def settled(
    connection: DockerConnection,
    name: str,
    inspect: Inspect,
    kill: Callable[[str], Awaitable[object]],
    *,
    plan: WarmPlan | None = None,
    step: Step | None = None,
) -> Sighting:
    """What has become of a container whose agent may have been told to begin, or not. Nobody may be attached to it.

    Its agent finds its stdin ended, after what was told to it: so it begins, or ends. Where it does neither, it is killed. With
    a ``step``, it is that one which may have begun.

    Raises:
        ContainerGone: there is none.
        EngineUnavailable: not known.
    """
    give_up_at = time.monotonic() + _SETTLE_SECONDS
    while True:
        # In this order: what has ended writes nothing more.
        has_ended = state_of((await inspect(name))["State"]["Status"]) is ContainerState.ENDED
        sight = await _look(connection, name, plan)
        if has_ended or (sight.has_begun and (step is None or sight.last in (None, step))):
            return sight
        if time.monotonic() > give_up_at:
            await kill(name)
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _look(connection: DockerConnection, name: str, plan: WarmPlan | None) -> Sighting:
    sight = Sighting(plan)
    async with aclosing(DockerOutput(connection, name).rest(follow=False)) as frames:
        async for frame in frames:
            sight.feed(frame)
    return sight
