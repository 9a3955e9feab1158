"""This runner among the others: it enters under its journal's epoch, and starts over under a new one when it was given up."""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable, Fenced
from bus.messages import Claim, Hello, Lease
from bus.ports import Bus
from runner import labels
from runner.claimed import Claimed, ClaimState
from runner.engine import Found
from runner.errors import Displaced, EngineUnavailable, RunnerIdTaken
from runner.outgoing import Report
from runner.reports import late_result
from runner.run_spec import container_name
from runner.surroundings import Surroundings
from runner.waiting import surely
from schemas.events import AttemptEnded, Ended
from schemas.failpoints import failpoint
from schemas.times import utc_now

log = structlog.get_logger()


class Membership:
    """Says hello, and hears of fences."""

    def __init__(
        self, bus: Bus, around: Surroundings, *, lease: Callable[[], Lease], abandon: Callable[[], Awaitable[None]]
    ) -> None:
        """``lease`` makes this runner's; ``abandon`` lets go of all executions in hand, as if the process had died, and returns
        when that is done.
        """
        self._lease = lease
        self._bus = bus
        self._epochs = bus.epochs
        self._around = around
        self._journal = around.journal
        self._runner_id = around.identity.runner_id
        self._abandon = abandon
        self._process = secrets.token_hex(16)
        #: By epoch: containers of ours that are of another journal, which may come back.
        self._strangers: defaultdict[str, set[str]] = defaultdict(set)

    async def enter(self) -> None:
        """Say hello, and start over first where this runner was given up while it was away. Waits for the bus.

        Raises:
            RunnerIdTaken: another runner lives under this id.
        """
        backoff = Backoff()
        while True:
            epoch = self._journal.epoch
            try:
                # A restart on the same journal, which is the usual one, need not ask.
                if not await self._journal.works_for(self._runner_id):
                    await self._see_that_the_id_is_free()
                await self._epochs.hello(Hello(epoch=epoch, process=self._process, runner_id=self._runner_id))
                await self._see_that_the_journal_is_whole(epoch)
            except BusUnavailable as error:
                log.warning("entering later", action="enter_delayed", error=str(error))
                await backoff.pause()
            except Fenced:
                await self._start_over(epoch)
            else:
                await self._journal.settle(self._runner_id)
                failpoint("membership.entered")
                return

    async def run(self) -> None:
        """Hear of fences, for ever: start over at that of the own epoch, and remove what was left of others."""
        backoff = Backoff()
        while True:
            try:
                async for epoch in self._epochs.fences():
                    backoff.reset()
                    if epoch == self._journal.epoch:
                        await self._start_over(epoch)
                        await self.enter()
                    await self._remove_strangers(epoch)
            except BusUnavailable as error:
                log.warning("fences are heard of later", action="fences_delayed", error=str(error))
            await backoff.pause()

    async def watch_for_a_copy(self) -> None:
        """Wait until another process works with a copy of this journal.

        Raises:
            Displaced: one does.
        """
        await self._epochs.displaced()
        raise Displaced(
            f"another process has started with a copy of this runner's state directory (runner {self._runner_id}):"
            " it goes on, and this one stops. Give each runner a state directory of its own (HUB_STATE_DIR)"
        )

    async def disown(self, found: Found) -> bool:
        """Whether a container is none of this journal's, and may not be touched: its owner may come back."""
        epoch = found.labels.get(labels.EPOCH)
        if epoch is None or not await self.is_anothers(found.labels):
            return False
        log.warning("leaving a container of another epoch alone", action="stranger_left", container=found.name, epoch=epoch)
        self._strangers[epoch].add(found.name)
        # The fence may have been heard of in between.
        if await self._epochs.is_fenced(epoch):
            await self._remove_strangers(epoch)
        return True

    async def is_anothers(self, said: Mapping[str, str]) -> bool:
        """Whether these labels are those of another journal, which was not given up."""
        epoch = said.get(labels.EPOCH)
        return epoch is not None and epoch != self._journal.epoch and not await self._epochs.is_fenced(epoch)

    async def _see_that_the_id_is_free(self) -> None:
        if await self._bus.leases.rival_of(self._lease()) is not None:
            raise RunnerIdTaken(
                f"another runner lives under the id {self._runner_id}: give this one an id of its own (HUB_RUNNER_ID),"
                " or a state directory of its own (HUB_STATE_DIR)"
            )

    async def _see_that_the_journal_is_whole(self, epoch: str) -> None:
        """Where the journal is an old copy, nothing is known of what was claimed since: end its epoch, and all that it had."""
        for known in await self._epochs.with_claims():
            if known.epoch == epoch:
                newest = await self._epochs.claims_of(epoch, known.last_claim - 1, 1)
                if newest and await self._journal.is_older_than(newest[0][1].nonce):
                    log.error("the journal is an old copy", action="journal_is_old", epoch=epoch)
                    await self._epochs.fence(epoch)
                    if await self._epochs.is_fenced(epoch):
                        raise Fenced(epoch)

    async def _start_over(self, epoch: str) -> None:
        """Clear away all that was done under an epoch that is over, say what came of it, and take a new one."""
        self._around.standing.end(epoch)
        log.warning("this runner was given up; it starts over", action="epoch_over", epoch=epoch)
        await self._abandon()
        claims = [claimed for claimed in await self._journal.claims() if claimed.epoch == epoch]
        found = await surely(self._around.engine.list_ours, _not_listed)
        names = {container_name(*claimed.key) for claimed in claims}
        names |= {each.name for each in found if each.labels.get(labels.EPOCH) == epoch}
        await self._destroy(names)
        failpoint("membership.cleared")
        # Only now: until it is written that nothing is left, the next life begins here again.
        await self._journal.renew(epoch, *await self._late_results(claims))
        self._around.standing.renewed()
        log.info("started over", action="epoch_renewed", epoch=self._journal.epoch, containers_removed=len(names))

    async def _late_results(self, claims: list[Claimed]) -> list[Report]:
        untold = await self._journal.untold_endings()
        late: list[Claimed | Ended | AttemptEnded] = list(untold)
        told_of = {(ended.execution_id, ended.attempt) for ended in untold}
        for claimed in claims:
            was_running = claimed.state is ClaimState.STARTING and claimed.key not in told_of
            if was_running and await self._was_ours(claimed):
                late.append(claimed)
        for attempt in late:
            log.info("late result", action="execution_late", execution_id=attempt.execution_id, attempt=attempt.attempt)
        return [late_result(self._around.identity, attempt, happened_at=utc_now()) for attempt in late]

    async def _was_ours(self, claimed: Claimed) -> bool:
        decision = await self._bus.decisions.decision_for(claimed.execution_id, claimed.attempt)
        return isinstance(decision, Claim) and decision.nonce == claimed.nonce

    async def _remove_strangers(self, epoch: str) -> None:
        await self._destroy(self._strangers.pop(epoch, set()))

    async def _destroy(self, names: set[str]) -> None:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._destroy_one(name), name=f"remove {name}")

    async def _destroy_one(self, name: str) -> None:
        def delayed(error: EngineUnavailable) -> None:
            log.warning("container not removed yet", action="container_not_removed", container=name, error=str(error))

        await surely(lambda: self._around.engine.destroy(name), delayed)


def _not_listed(error: EngineUnavailable) -> None:
    log.warning("containers can't be listed", action="engine_away", error=str(error))
