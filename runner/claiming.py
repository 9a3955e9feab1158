"""From a delivery to an execution that is this runner's, or to nothing."""

import asyncio
from collections.abc import Awaitable

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable, Fenced
from bus.messages import Claim, Decision, Source
from bus.ports import Decisions, Delivery
from runner.claimed import Claimed
from runner.engine_watch import EngineWatch
from runner.errors import Interrupted
from runner.execution import Execution
from runner.lives import Lives
from runner.slots import Slots
from runner.surroundings import Surroundings
from runner.waiting import cancel, unless
from schemas.commands import ExecuteProgram, digest_of, parse_execute, parse_retry
from schemas.errors import MalformedCommand
from schemas.failpoints import failpoint

log = structlog.get_logger()


class Claiming:
    """Claims what is delivered, begins what is this runner's, and settles each delivery once its decision stands."""

    def __init__(
        self,
        decisions: Decisions,
        surroundings: Surroundings,
        *,
        lives: Lives,
        slots: Slots,
        watch: EngineWatch,
        stopping: asyncio.Event,
    ) -> None:
        """``stopping`` is set when the runner is asked to stop."""
        self._decisions = decisions
        self._surroundings = surroundings
        self._journal = surroundings.journal
        self._standing = surroundings.standing
        self._lives = lives
        self._slots = slots
        self._watch = watch
        self._stopping = stopping
        #: Deliveries that are being claimed and settled.
        self._handling: set[asyncio.Task[None]] = set()

    def handle_soon(self, delivery: Delivery, group: asyncio.TaskGroup) -> None:
        """Handle a delivery beside others: what is written and asked for at the same time costs hardly more than one."""
        has_slot = not self._stopping.is_set() and self._slots.free > 0
        if has_slot:
            self._slots.take()
        task = group.create_task(self._handle(delivery, group, has_slot=has_slot), name=f"handle {delivery.message.id}")
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

    async def finished(self) -> None:
        """Wait until all deliveries are settled. Once the runner is stopping, what has not begun is given back."""
        await asyncio.gather(*self._handling)

    async def _handle(self, delivery: Delivery, group: asyncio.TaskGroup, *, has_slot: bool) -> None:
        has_begun = False
        try:
            if has_slot:
                has_begun = await self._run_if_ours(delivery, group)
            else:
                await self._settle(delivery.give_back(), "give back")
        except Interrupted:
            # What was claimed, perhaps, the journal remembers, and the next life asks for the decision.
            await self._settle(delivery.give_back(), "give back")
        finally:
            if has_slot and not has_begun:
                self._slots.give_back()

    async def _run_if_ours(self, delivery: Delivery, group: asyncio.TaskGroup) -> bool:
        """Claim what is delivered, begin it if it is this runner's, and settle the delivery. Whether it was begun."""
        failpoint("runner.took")
        try:
            execution_id, attempt, digest, command = _understand(delivery)
        except MalformedCommand as error:
            log.warning("malformed command", action="command_rejected", message_id=delivery.message.id, why=str(error))
            await self._settle(delivery.reject(str(error)), "reject")
            return False
        while True:
            claimed = self._journal.new_claim(execution_id, attempt, digest, command)
            life = Execution(claimed, self._surroundings, is_claimed=False)
            try:
                return await self._try(life, claimed, delivery, group)
            except Fenced:
                log.info("claim is void", action="claim_void", execution_id=execution_id, epoch=claimed.epoch)
                await life.clear_away()
                # With the delivery still held.
                await unless(self._stopping, self._standing.until_renewed(claimed.epoch))

    async def _try(self, life: Execution, claimed: Claimed, delivery: Delivery, group: asyncio.TaskGroup) -> bool:
        is_known = any(claimed.key == each.key for each in self._lives.in_hand)
        # First of all, since all else waits for it. What is written after a stop all the same, the next life finds.
        claiming = asyncio.create_task(self._journal.claim(claimed), name=f"claim {life.name}")
        telling = self._lives.consider(life)
        has_begun = False
        try:
            if not is_known:
                # While it is claimed and decided on, which is hardly ever for another.
                life.get_ready()
            if not await self._has_claimed(life, claimed, claiming, delivery):
                await life.leave_off()
                if not is_known:
                    await life.clear_away()
                return False
            ours = await self.is_ours(claimed)
            # A decision stands, so it begins at once: should it not be settled, it comes again and is dropped.
            has_begun = ours and self._lives.begin(life, group, telling)
        finally:
            self._lives.decided(life)
            if not has_begun:
                await cancel(telling)
                await life.leave_off()
        if not ours:
            log.info("command is another runner's, or cancelled", action="command_dropped", execution_id=claimed.execution_id)
        await self._settle(delivery.done(), "acknowledge")
        if not has_begun:
            self._lives.drop(life, group)
        return has_begun

    async def _has_claimed(self, life: Execution, claimed: Claimed, claiming: asyncio.Task[bool], delivery: Delivery) -> bool:
        """Wait until the claim is written. False where it ends there, with the delivery settled."""
        # Asked while the claim is being written, which nobody has heard of yet.
        checking = asyncio.create_task(self._watch.check_for_work(), name="check the engine")
        try:
            # It waits while the disk is full.
            is_new = await unless(self._stopping, _done(claiming))
            if is_new:
                life.is_claimed.set()
            engine_answers = await unless(self._stopping, _done(checking))
        finally:
            await cancel(checking)
        if not engine_answers:
            # Others shall have what this runner can't run.
            if is_new:
                await self._journal.forget(claimed)
            await self._settle(delivery.give_back(), "give back")
            return False
        if not is_new:
            log.info("command came again", action="command_redelivered", execution_id=claimed.execution_id)
            await self._settle(delivery.done(), "acknowledge")
        return is_new

    async def is_ours(self, claimed: Claimed) -> bool:
        """Whether the decision is for this claim.

        Raises:
            Fenced: the claim's epoch is over.
            Interrupted: the runner was asked to stop first.
        """
        decision = await unless(self._stopping, self.decide(claimed))
        failpoint("runner.decided")
        return isinstance(decision, Claim) and decision.nonce == claimed.nonce

    async def decide(self, claimed: Claimed) -> Decision:
        """The decision, asked for until it is known. The same nonce each time, so asking again is harmless.

        Who was frozen or cut off says first that it is there again: else it would be given up with what it claims now.

        Raises:
            Fenced: the claim's epoch is over.
        """
        await self._standing.sure(claimed.epoch)
        claim = Claim(
            execution_id=claimed.execution_id,
            attempt=claimed.attempt,
            epoch=claimed.epoch,
            nonce=claimed.nonce,
            digest=claimed.digest,
        )
        backoff = Backoff()
        while True:
            try:
                return await self._decisions.decide(claim)
            except BusUnavailable as error:
                log.warning("decision delayed", action="decision_delayed", execution_id=claimed.execution_id, error=str(error))
                await backoff.pause()

    async def _settle(self, settling: Awaitable[None], what: str) -> None:
        try:
            await settling
            failpoint("runner.settled")
        except BusUnavailable as error:  # it comes again, and finds its decision made
            log.warning("command not settled", action="settle_failed", what=what, error=str(error))


async def _done(task: asyncio.Task[bool]) -> bool:
    return await task


def _understand(delivery: Delivery) -> tuple[str, int, str, ExecuteProgram]:
    """Execution id, attempt, digest and command of a delivery. Only the holder's word makes an attempt beyond the first.

    Raises:
        MalformedCommand: it is no command.
    """
    message = delivery.message
    if delivery.source is Source.COMMANDS:
        execution_id, command = parse_execute(message.id, message.body)
        return execution_id, 1, digest_of(command), command
    execution_id, retry = parse_retry(message.id, message.body)
    return execution_id, retry.attempt, retry.digest or digest_of(retry), retry
