"""The runner: takes commands while it has slots, and sees each to its end."""

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable, Fenced
from bus.messages import LEASE_SECONDS, LEASES_A_TTL, Claim, Decision, Source
from bus.ports import Bus, Delivery
from runner.answers import Answers
from runner.cancels import Cancels
from runner.claimed import Claimed
from runner.engine import Engine
from runner.engine_watch import EngineWatch
from runner.errors import Interrupted
from runner.execution import Execution, Fate
from runner.free_space import FreeSpace, Room
from runner.identity import Identity
from runner.journal import Journal
from runner.membership import Membership
from runner.outbox import Outbox
from runner.ports import Catalogues
from runner.presence import HANDOVER_SECONDS, Presence
from runner.reclaims import Reclaims
from runner.recovery import find_leftovers
from runner.run_spec import container_name
from runner.slots import Slots
from runner.standing import Standing
from runner.surroundings import Surroundings
from runner.sweeper import EVERY_SECONDS, Sweeper
from runner.waiting import cancel, unless
from runner.warming import Warming
from schemas.commands import ExecuteProgram, digest_of, parse_execute, parse_retry
from schemas.errors import MalformedCommand
from schemas.failpoints import failpoint

log = structlog.get_logger()

#: Bytes that may wait to be told before no new work is taken: a bus that is slower than the programs must not fill the disk.
_MOST_WAITING_BYTES = 256 * 1024 * 1024
#: Ended executions whose containers Docker has not removed yet, before no new work is taken.
_MOST_TO_REMOVE = 100
#: Seconds after which a wait looks again at what gives no sign when it changes: the settings.
_LOOK_AGAIN_SECONDS = 0.5
#: Seconds after an end before its container is removed, and the most seconds that this waits for others to end as well.
_CALM_SECONDS, _LONGEST_WAIT_FOR_CALM_SECONDS = 0.03, 0.25
#: Seconds at the end to let go of programs, and to finish stopping and removing what was being stopped or removed.
_DETACH_SECONDS = 1.0
#: Seconds at the end to tell what is still in the outbox; what is left is told after the next start.
_FLUSH_SECONDS = 1.5
#: Seconds for the bus to stop handing out commands; what it has handed out comes again where that is not enough.
_STOP_TAKING_SECONDS = 1.0


class Runner:
    """Runs the commands of one pool. The journal is open and the bus too before :meth:`run`, and until it has returned."""

    def __init__(
        self,
        *,
        bus: Bus,
        catalogues: Catalogues,
        engine: Engine,
        journal: Journal,
        identity: Identity,
        pool: str,
        host_project_dir: Path | None = None,
        out_of_bounds: tuple[Path, ...] = (),
        ca_bundle: Path | None = None,
        free_space: FreeSpace | None = None,
        lease_seconds: float = LEASE_SECONDS,
        handover_seconds: float = HANDOVER_SECONDS,
        sweep_seconds: float = EVERY_SECONDS,
        sweep_dry_run: bool = False,
    ) -> None:
        """``host_project_dir`` is the project's folder as the engine's host sees it, where that differs; no program's folder
        may hold a path ``out_of_bounds``; ``ca_bundle`` has the CA certificates that programs shall trust;
        without ``free_space`` nobody looks whether the disk has room; ``lease_seconds`` is how far apart leases are, and
        ``handover_seconds`` for how long the runner may be away after a stop before what it left running counts as lost;
        ``sweep_seconds`` lie between two looks for what nobody owns any more, which with ``sweep_dry_run`` stays and is only
        told of.
        """
        self._bus = bus
        self._catalogues = catalogues
        self._engine = engine
        self._journal = journal
        self._pool = pool
        self._standing = Standing(bus.epochs, journal, ttl_seconds=LEASES_A_TTL * lease_seconds)
        self._surroundings = Surroundings(
            engine=engine,
            journal=journal,
            standing=self._standing,
            catalogues=catalogues,
            identity=identity,
            host_project_dir=host_project_dir,
            out_of_bounds=out_of_bounds,
            ca_bundle=ca_bundle,
        )
        self._warming = Warming(self._surroundings, pool)
        self._slots = Slots(lambda: catalogues.current.settings.max_concurrent_executions)
        self._watch = EngineWatch(engine)
        self._room = free_space and Room(free_space, lambda: self._watch.data_root)
        self._outbox = Outbox(journal, bus.streams, may_tell=self._standing.sure)
        self._presence = Presence(
            bus.leases,
            commands=bus.commands,
            catalogues=catalogues,
            journal=journal,
            watch=self._watch,
            standing=self._standing,
            runner_id=identity.runner_id,
            pool=pool,
            lease_seconds=lease_seconds,
            handover_seconds=handover_seconds,
        )
        self._membership = Membership(bus, self._surroundings, lease=self._presence.lease, abandon=self._abandon)
        self._sweeper = Sweeper(
            engine,
            self._claimed_names,
            is_anothers=self._membership.is_anothers,
            every_seconds=sweep_seconds,
            dry_run=sweep_dry_run,
        )
        self._answering = partial(bus.questions.answer, identity.runner_id, Answers(engine).answer)
        self._lives: dict[asyncio.Task[None], Execution] = {}
        #: Those that are lived if they turn out to be this runner's.
        self._candidates: set[Execution] = set()
        #: Deliveries that are being claimed and settled.
        self._handling: set[asyncio.Task[None]] = set()
        self._cancels = Cancels(bus.decisions, lambda: self._in_hand)
        self._reclaims = Reclaims(bus.decisions, journal, self._decide)
        self._stopping = asyncio.Event()
        #: Until when programs may run on once it is asked to stop, by the monotonic clock.
        self._stop_at = 0.0
        self._finished = asyncio.Event()
        self._finished.set()

    @property
    def problem(self) -> str | None:
        """What keeps it from taking work right now, for people; ``None`` where nothing does."""
        return "; ".join(filter(None, (self._watch.problem, self._journal.problem, self._disk_problem))) or None

    @property
    def _disk_problem(self) -> str | None:
        return None if self._room is None else self._room.problem

    @property
    def running(self) -> int:
        """How many executions it has in hand."""
        return self._slots.used

    async def run(self) -> None:
        """Run until stopped. What an earlier life left behind comes first.

        Cancelling it is like a crash: programs go on running, and the next life takes them up.

        Raises:
            ExceptionGroup: one of its own tasks died; the journal has everything that the next life must know. With a
                :class:`runner.errors.RunnerIdTaken` or a :class:`runner.errors.Displaced` in it, another process is in the way.
        """
        self._finished.clear()
        try:
            async with asyncio.TaskGroup() as group:
                presence = group.create_task(self._presence.run(), name="keep the lease")
                helpers = [
                    group.create_task(self._watch.run(), name="watch the engine"),
                    group.create_task(self._outbox.run(), name="tell what is in the outbox"),
                    group.create_task(self._standing.run(), name="know that the epoch is not over"),
                    group.create_task(self._cancels.run(), name="hear of cancels"),
                    group.create_task(self._reclaims.run(), name="claim again after a gap"),
                ]
                try:
                    await unless(self._stopping, self._membership.enter())
                    helpers += [
                        group.create_task(self._membership.run(), name="hear of fences"),
                        group.create_task(self._membership.watch_for_a_copy(), name="watch for a copy"),
                        group.create_task(self._answering(), name="answer questions"),
                    ]
                    await self._recover(group, helpers)
                    await self._consume(group)
                except Interrupted:
                    pass  # asked to stop while it waited for something
                # They give back what they have not begun.
                await asyncio.gather(*self._handling)
                await self._wind_down()
                # A usual lease after the last one would take the time of the hand-over back.
                await cancel(presence)
                await asyncio.gather(self._flush(), self._presence.leave())
                await cancel(*helpers)
        finally:
            self._finished.set()

    async def stop(self, limit_seconds: float) -> None:
        """Take nothing more, let programs end within the limit, then let go of them; returns when :meth:`run` has ended.

        Beyond the limit it takes a few seconds, and longer only where a Compose program is to be stopped. What runs, runs on:
        the next start takes it up.
        """
        self._stop_at = time.monotonic() + limit_seconds
        self._stopping.set()
        await self._finished.wait()

    # What an earlier life left

    async def _recover(self, group: asyncio.TaskGroup, helpers: list[asyncio.Task[None]]) -> None:
        await unless(self._stopping, self._watch.available.wait())
        leftovers = await unless(self._stopping, find_leftovers(self._surroundings, self._membership.disown))
        helpers.append(group.create_task(self._sweeper.run(), name="sweep"))
        helpers.append(group.create_task(self._warming.run(), name="keep programs warm"))
        # What runs, runs, whatever the limit says now.
        for leftover in sorted(leftovers, key=lambda leftover: not leftover.was_started):
            life = Execution(leftover.claimed, self._surroundings, container_may_exist=leftover.has_container)
            if not leftover.was_started:
                await self._wait_for_slot(life)
            is_ours = leftover.is_ours_for_sure or await self._is_still_ours(leftover.claimed)
            self._slots.take()
            if not (is_ours and self._begin(life, group, taken_up=leftover.was_started)):
                self._slots.give_back()
                if not leftover.is_ours_for_sure:
                    await life.clean_up()

    async def _claimed_names(self) -> frozenset[str]:
        claimed = {container_name(*claimed.key) for claimed in await self._journal.claims()}
        # What is kept warm is taken while its claim is still on its way into the journal.
        return frozenset(claimed | {life.name for life in self._in_hand})

    async def _wait_for_slot(self, life: Execution) -> None:
        """Wait until there is room for it, or it needs none, because it was cancelled."""
        while self._slots.free == 0:
            await self._cancels.tell(life)
            if life.is_cancelled:
                return
            with suppress(TimeoutError):
                await unless(self._stopping, asyncio.wait_for(self._slots.wait_free(), _LOOK_AGAIN_SECONDS))

    # Taking commands

    async def _consume(self, group: asyncio.TaskGroup) -> None:
        backoff = Backoff()
        try:
            while True:
                await self._until_work_is_welcome()
                try:
                    delivery = await self._take()
                except BusUnavailable as error:
                    log.warning("no commands: the bus is away", action="take_failed", error=str(error))
                    await unless(self._stopping, backoff.pause())
                    continue
                backoff.reset()
                if delivery is not None:
                    self._handle_soon(delivery, group)
        finally:
            await self._stop_taking()

    async def _until_work_is_welcome(self) -> None:
        while not self._work_is_welcome():
            if self._slots.free == 0:
                await unless(self._stopping, self._slots.wait_free(_LOOK_AGAIN_SECONDS))
                continue
            # Others shall have what this runner can't run.
            await self._stop_taking()
            if self._watch.available.is_set():
                await unless(self._stopping, asyncio.sleep(_LOOK_AGAIN_SECONDS))
            else:
                await unless(self._stopping, self._watch.available.wait())
        if self._stopping.is_set():
            raise Interrupted

    def _work_is_welcome(self) -> bool:
        return (
            self._slots.free > 0
            and self._watch.available.is_set()
            and self._disk_problem is None
            and self._journal.problem is None
            and self._journal.outbox_bytes <= _MOST_WAITING_BYTES
            and len(self._in_hand) - self._slots.used <= _MOST_TO_REMOVE
        )

    async def _take(self) -> Delivery | None:
        """The next command; ``None`` where work is no longer welcome before one has come."""
        taking = asyncio.create_task(self._bus.commands.take(self._pool, self._slots.free), name="take")
        stopping = asyncio.create_task(self._stopping.wait(), name="wait for a stop")
        away = asyncio.create_task(self._watch.away.wait(), name="wait for the engine to go away")
        try:
            while not taking.done() and self._work_is_welcome() and not self._stopping.is_set():
                await asyncio.wait({taking, stopping, away}, timeout=_LOOK_AGAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not taking.done():
                taking.cancel()
                await asyncio.wait({taking})
            # A command that came in the very moment of the cancel is not lost: it is handled, or given back.
            return None if taking.cancelled() else taking.result()
        finally:
            await cancel(taking, stopping, away)

    def _handle_soon(self, delivery: Delivery, group: asyncio.TaskGroup) -> None:
        """Handle a delivery beside others: what is written and asked for at the same time costs hardly more than one."""
        has_slot = not self._stopping.is_set() and self._slots.free > 0
        if has_slot:
            self._slots.take()
        task = group.create_task(self._handle(delivery, group, has_slot=has_slot), name=f"handle {delivery.message.id}")
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

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
        is_known = any(claimed.key == each.key for each in self._in_hand)
        # First of all, since all else waits for it. What is written after a stop all the same, the next life finds.
        claiming = asyncio.create_task(self._journal.claim(claimed), name=f"claim {life.name}")
        # It is among those that hear of ends from here on, so none is missed in between.
        self._candidates.add(life)
        telling = self._tell_of_ends(life)
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
            ours = await self._is_ours(claimed)
            # A decision stands, so it begins at once: should it not be settled, it comes again and is dropped.
            has_begun = ours and self._begin(life, group, telling)
        finally:
            self._candidates.discard(life)
            if not has_begun:
                await cancel(telling)
                await life.leave_off()
        if not ours:
            log.info("command is another runner's, or cancelled", action="command_dropped", execution_id=claimed.execution_id)
        await self._settle(delivery.done(), "acknowledge")
        if not has_begun:
            self._drop(life, group)
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

    @property
    def _in_hand(self) -> list[Execution]:
        return [*self._lives.values(), *self._candidates]

    async def _is_still_ours(self, claimed: Claimed) -> bool:
        """Whether a claim of an earlier life is to be run; not where its epoch is over."""
        try:
            return await self._is_ours(claimed)
        except Fenced:
            return False

    async def _is_ours(self, claimed: Claimed) -> bool:
        decision = await unless(self._stopping, self._decide(claimed))
        failpoint("runner.decided")
        return isinstance(decision, Claim) and decision.nonce == claimed.nonce

    async def _decide(self, claimed: Claimed) -> Decision:
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
                return await self._bus.decisions.decide(claim)
            except BusUnavailable as error:
                log.warning("decision delayed", action="decision_delayed", execution_id=claimed.execution_id, error=str(error))
                await backoff.pause()

    async def _settle(self, settling: Awaitable[None], what: str) -> None:
        try:
            await settling
            failpoint("runner.settled")
        except BusUnavailable as error:  # it comes again, and finds its decision made
            log.warning("command not settled", action="settle_failed", what=what, error=str(error))

    async def _stop_taking(self) -> None:
        try:
            async with asyncio.timeout(_STOP_TAKING_SECONDS):
                await self._bus.commands.stop_taking()
            failpoint("runner.stopped_taking")
        except (BusUnavailable, TimeoutError) as error:
            log.warning("could not stop taking commands", action="stop_taking_failed", error=str(error) or "timeout")

    # Running them

    def _begin(
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
        task = group.create_task(self._live(life, telling, taken_up=taken_up), name=f"execution {life.name}")
        self._lives[task] = life
        task.add_done_callback(self._lives.pop)
        return True

    def _tell_of_ends(self, life: Execution) -> asyncio.Task[None]:
        """Begin to tell it of an end that came before it was in hand."""
        return asyncio.create_task(self._cancels.tell(life), name=f"ends of {life.name}")

    def _drop(self, life: Execution, group: asyncio.TaskGroup) -> None:
        """It is not to be run here: remove what was made ready for it, and its claim."""
        task = group.create_task(life.clean_up(), name=f"drop {life.name}")
        self._lives[task] = life
        task.add_done_callback(self._lives.pop)

    async def _abandon(self) -> None:
        """Let go of everything in hand at once, as if this process had died."""
        await cancel(*self._lives)

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

    async def _wind_down(self) -> None:
        """Let what runs come to an end by itself, and let go of what does not. What is kept warm is removed meanwhile."""
        self._warming.stop()
        for life in self._lives.values():
            life.do_not_start()
        await self._wait_for_lives(self._stop_at - time.monotonic())
        for life in self._lives.values():
            life.detach()
        failpoint("runner.let_go")
        letting_go = max((life.seconds_to_let_go for life in self._lives.values()), default=0.0)
        await self._wait_for_lives(letting_go + _DETACH_SECONDS)
        if self._lives:
            log.error("executions are left to the next start", action="stop_incomplete", executions=len(self._lives))
            await cancel(*self._lives)

    async def _flush(self) -> None:
        if not await self._outbox.flushed(_FLUSH_SECONDS):
            log.warning("events wait for the next start", action="outbox_not_empty", bytes=self._journal.outbox_bytes)

    async def _wait_for_lives(self, limit_seconds: float) -> None:
        give_up_at = time.monotonic() + limit_seconds
        while self._lives and (left := give_up_at - time.monotonic()) > 0:
            await asyncio.wait(set(self._lives), timeout=left)


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
