"""What an earlier life of this runner left behind, and what becomes of it."""

import asyncio
from dataclasses import dataclass

import structlog

from bus.backoff import Backoff
from runner.engine import ContainerState, Engine, Found
from runner.errors import EngineUnavailable
from runner.execution import Execution, Surroundings
from runner.journal import Claimed, ClaimState
from runner.run_spec import container_name

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Leftover:
    """A claim whose program was never started: it is still to be run, if the decision says so."""

    claimed: Claimed
    #: Whether its container was made already.
    has_container: bool


async def end_leftovers(around: Surroundings) -> list[Leftover]:
    """Make an end of all that may have been started, remove containers that no claim owns, and return what is still to be run.

    When this returns none of the earlier life's programs runs any more. It waits for the engine as long as that takes.
    """
    claims = {container_name(*claimed.key): claimed for claimed in await around.journal.claims()}
    containers = {found.name: found for found in await _find_ours(around.engine)}
    strays = containers.keys() - claims.keys()
    started = {name for name, claimed in claims.items() if _was_started(claimed, containers.get(name))}
    if claims or strays:
        log.info(
            "earlier life found",
            action="recovery",
            to_start=len(claims) - len(started),
            to_end=len(started),
            containers_to_remove=len(strays),
        )
    async with asyncio.TaskGroup() as group:
        for name in started:
            group.create_task(_end(claims[name], around), name=f"end {name}")
        for name in strays:
            group.create_task(_remove(name, around.engine), name=f"remove {name}")
    return [Leftover(claimed, name in containers) for name, claimed in claims.items() if name not in started]


def _was_started(claimed: Claimed, container: Found | None) -> bool:
    """Whether a claim of an earlier life may have run. The order to start it is in the journal before it was given."""
    if claimed.state is ClaimState.ENDED:
        return True
    if claimed.state is ClaimState.CLAIMED:
        return False
    return container is None or container.state is not ContainerState.CREATED


async def _end(claimed: Claimed, around: Surroundings) -> None:
    life = Execution(claimed, around, container_may_exist=True)
    if claimed.state is not ClaimState.ENDED:
        await life.end_interrupted()
    await life.clean_up()


async def _remove(name: str, engine: Engine) -> None:
    log.warning("removing a container that no claim owns", action="stray_removed", container=name)
    backoff = Backoff()
    while True:
        try:
            await engine.destroy(name)
        except EngineUnavailable as error:
            log.warning("container not removed yet", action="container_not_removed", container=name, error=str(error))
            await backoff.pause()
        else:
            return


async def _find_ours(engine: Engine) -> list[Found]:
    backoff = Backoff()
    while True:
        try:
            return await engine.list_ours()
        except EngineUnavailable as error:
            log.warning("containers can't be listed", action="engine_away", error=str(error))
            await backoff.pause()
