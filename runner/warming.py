"""Says to the engine what to keep warm: for programs that ask for it, and for those that were used lately."""

import asyncio
import time
from contextlib import suppress

import structlog

from runner.claimed import Claimed
from runner.errors import CannotRun
from runner.planning import plan_container
from runner.run_spec import RunSpec
from runner.surroundings import Surroundings
from runner.warm_pool import Warm
from schemas.catalogue import Catalogue
from schemas.commands import ExecuteProgram
from schemas.programs import Program

log = structlog.get_logger()

#: Seconds between two looks at what lies in the programs' folders.
_LOOK_SECONDS = 5.0
#: Seconds between a use and the look that follows: what was used wants the same cores, and somebody waits for it.
_CALM_SECONDS = 0.1
#: Programs that are kept warm at most.
_MOST_PROGRAMS = 256
#: Of nobody: what is kept warm is for an execution that is not known yet.
_NO_ONE = "00000000-0000-0000-0000-000000000000"


class Warming:
    """For one runner."""

    def __init__(self, around: Surroundings, pool: str) -> None:
        """``pool`` is the one whose commands the runner takes."""
        self._around = around
        self._pool = pool
        self._demand = around.demand
        self._is_over = False

    def stop(self) -> None:
        """Keep nothing warm any more."""
        self._is_over = True
        self._around.engine.keep_warm([])

    async def run(self) -> None:
        """Keep at it, until it is stopped or cancelled."""
        while not self._is_over:
            self._demand.changed.clear()
            wanted = await self._wanted(self._around.catalogues.current)
            if not self._is_over:
                self._around.engine.keep_warm(wanted)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._demand.changed.wait()
                await asyncio.sleep(_CALM_SECONDS)

    async def _wanted(self, catalogue: Catalogue) -> list[Warm]:
        """What is to be kept warm, the more important first."""
        now = time.monotonic()
        wanted = []
        for program, count in self._counts(catalogue, now)[:_MOST_PROGRAMS]:
            try:
                wanted.append(Warm(await self._spec(catalogue, program), count))
            except CannotRun as error:  # whoever wants to run it is told
                log.debug("not kept warm", action="warm_not_planned", program_id=program.id, why=str(error))
        return wanted

    def _counts(self, catalogue: Catalogue, now: float) -> list[tuple[Program, int]]:
        ours = {program.id: program for program in catalogue if self._is_ours(catalogue, program)}
        asked = [(program, program.warm) for program in ours.values() if program.warm]
        used = [ours[name] for name in self._demand.latest_first(now) if name in ours]
        return asked + [(program, self._demand.suggested(program.id, now)) for program in used if program.warm is None]

    def _is_ours(self, catalogue: Catalogue, program: Program) -> bool:
        is_container = program.path_docker_compose_run is None
        return program.enabled and is_container and catalogue.pool_of(program) == self._pool

    async def _spec(self, catalogue: Catalogue, program: Program) -> RunSpec:
        command = ExecuteProgram(program_id=program.id)
        nobodys = Claimed(
            execution_id=_NO_ONE, attempt=1, epoch=self._around.journal.epoch, nonce="", digest="", command=command
        )
        return await plan_container(nobodys, catalogue, program, self._around)
