"""What an earlier life of this runner left behind, and what becomes of it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from runner.claimed import Claimed, ClaimState
from runner.engine import ContainerState, Engine, Found
from runner.errors import EngineUnavailable
from runner.execution import Execution
from runner.run_spec import container_name
from runner.surroundings import Surroundings
from runner.waiting import surely

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Leftover:
    """A claim of an earlier life that has not ended."""

    claimed: Claimed
    #: Whether its container was made already.
    has_container: bool
    #: Whether it may have been started: then it is to be taken up, if it is ours. Else it is still to be run, if it is.
    was_started: bool

    @property
    def is_ours_for_sure(self) -> bool:
        """Whether the decision need not be asked for: the order may stand in the journal before it is known."""
        return self.was_started and self.has_container


async def find_leftovers(around: Surroundings, is_strange: Callable[[Found], Awaitable[bool]]) -> list[Leftover]:
    """Clear away what has ended; return what is to be taken up or still to be run.

    It waits for the engine as long as that takes. A container that ``is_strange`` is neither taken up nor removed.
    """
    claims = {container_name(*claimed.key): claimed for claimed in await around.journal.claims()}
    containers = {found.name: found for found in await _find_ours(around.engine) if not await is_strange(found)}
    ended = {name for name, claimed in claims.items() if claimed.state is ClaimState.ENDED}
    started = {name for name in claims.keys() - ended if await _may_have_run(claims[name], containers.get(name), around.engine)}
    if claims:
        log.info(
            "earlier life found",
            action="recovery",
            to_start=len(claims) - len(started) - len(ended),
            to_take_up=len(started),
            to_clear_away=len(ended),
        )
    async with asyncio.TaskGroup() as group:
        for name in ended:
            life = Execution(claims[name], around, container_may_exist=True)
            group.create_task(life.clean_up(), name=f"clear away {name}")
    return [
        Leftover(claimed, name in containers, was_started=name in started)
        for name, claimed in claims.items()
        if name not in ended
    ]


async def _may_have_run(claimed: Claimed, container: Found | None, engine: Engine) -> bool:
    """Whether a claim of an earlier life may have run. The order to start it is in the journal before it was given."""
    if claimed.state is ClaimState.CLAIMED:
        return False
    if container is None or container.state is not ContainerState.CREATED:
        return True

    def delayed(error: EngineUnavailable) -> None:
        log.warning("not known whether it was started", action="engine_away", container=container.name, error=str(error))

    return not await surely(lambda: engine.knows_all_starts(container.name), delayed)


async def _find_ours(engine: Engine) -> list[Found]:
    def delayed(error: EngineUnavailable) -> None:
        log.warning("containers can't be listed", action="engine_away", error=str(error))

    return await surely(engine.list_ours, delayed)
