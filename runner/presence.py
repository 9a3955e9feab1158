"""Saying that this runner is there."""

import asyncio
import time

import structlog

from bus.errors import BusUnavailable
from bus.messages import LEASE_SECONDS, LEASES_A_TTL, Lease
from bus.ports import Commands, Leases
from runner.engine_watch import EngineWatch
from runner.journal import Journal
from runner.ports import Catalogues
from runner.standing import Standing
from schemas.failpoints import failpoint
from schemas.times import utc_now

log = structlog.get_logger()

#: Seconds after which it looks whether there is something new to say; and tries again, where it could not be said.
_LOOK_AGAIN_SECONDS = 0.5
#: Seconds that a runner which was stopped may be away before it counts as lost.
HANDOVER_SECONDS = 600.0
#: Seconds that saying goodbye may take.
_LEAVE_SECONDS = 2.0


class Presence:
    """Writes a lease every few seconds, and at once when something in it has changed."""

    def __init__(
        self,
        leases: Leases,
        *,
        commands: Commands,
        catalogues: Catalogues,
        journal: Journal,
        watch: EngineWatch,
        standing: Standing,
        runner_id: str,
        pool: str,
        lease_seconds: float = LEASE_SECONDS,
        handover_seconds: float = HANDOVER_SECONDS,
    ) -> None:
        """``handover_seconds`` is for how long the runner may be away after it has left."""
        self._commands = commands
        self._leases = leases
        self._catalogues = catalogues
        self._journal = journal
        self._watch = watch
        self._standing = standing
        self._lease_seconds = lease_seconds
        self._handover_seconds = handover_seconds
        self._runner_id = runner_id
        self._pool = pool
        self._started_at = utc_now()
        self._is_heard = True

    async def run(self) -> None:
        """Write leases, for ever."""
        written: tuple[object, ...] | None = None
        due_at = time.monotonic()
        while True:
            lease = self.lease()
            if time.monotonic() >= due_at or _said(lease) != written:
                started_at, begun_at = time.monotonic(), self._standing.now()
                if await self._keep(lease):
                    self._standing.kept(begun_at)
                    written, due_at = _said(lease), started_at + self._lease_seconds
            await asyncio.sleep(min(_LOOK_AGAIN_SECONDS, self._lease_seconds / 4))

    async def leave(self) -> None:
        """Say goodbye, so that nobody misses this runner, and for how long what it leaves running is not to be given up.

        Where that can't be said, its lease runs out.
        """
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._keep(self.lease(leaves=True))
                failpoint("lease.left")
        except TimeoutError:
            log.info("left without a goodbye", action="leave_failed")

    def lease(self, *, leaves: bool = False) -> Lease:
        """What is to be said now."""
        return Lease(
            runner_id=self._runner_id,
            epoch=self._journal.epoch,
            pool=self._pool,
            max_concurrent_executions=self._catalogues.current.settings.max_concurrent_executions,
            started_at=self._started_at,
            written_at=utc_now(),
            engine_version=self._watch.version,
            unsettled=self._commands.unsettled(),
            ttl_seconds=self._handover_seconds if leaves else LEASES_A_TTL * self._lease_seconds,
            leaves=leaves,
        )

    async def _keep(self, lease: Lease) -> bool:
        try:
            await self._leases.keep(lease)
            failpoint("lease.written")
        except BusUnavailable as error:
            if self._is_heard:
                log.warning("could not say that this runner is there", action="lease_not_written", error=str(error))
            self._is_heard = False
            return False
        self._is_heard = True
        return True


def _said(lease: Lease) -> tuple[object, ...]:
    """What a lease says besides its time."""
    return lease.epoch, lease.pool, lease.max_concurrent_executions, lease.engine_version
