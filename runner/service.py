"""The runner: takes commands while it has slots, and sees each to its end."""

import asyncio
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable, Fenced
from bus.messages import LEASE_SECONDS, LEASES_A_TTL
from bus.ports import Bus, Delivery
from runner.answers import Answers
from runner.claimed import Claimed
from runner.claiming import Claiming
from runner.engine import Engine
from runner.engine_watch import EngineWatch
from runner.errors import Interrupted
from runner.execution import Execution
from runner.free_space import FreeSpace, Room
from runner.identity import Identity
from runner.journal import Journal
from runner.lives import Lives
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
from schemas.failpoints import failpoint

log = structlog.get_logger()

#: Bytes that may wait to be told before no new work is taken: a bus that is slower than the programs must not fill the disk.
_MOST_WAITING_BYTES = 256 * 1024 * 1024
#: Ended executions whose containers Docker has not removed yet, before no new work is taken.
_MOST_TO_REMOVE = 100
#: Seconds after which a wait looks again at what gives no sign when it changes: the settings.
_LOOK_AGAIN_SECONDS = 0.5
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
        self._stopping = asyncio.Event()
        self._lives = Lives(bus.decisions, slots=self._slots, standing=self._standing, stopping=self._stopping)
        self._claiming = Claiming(
            bus.decisions,
            self._surroundings,
            lives=self._lives,
            slots=self._slots,
            watch=self._watch,
            stopping=self._stopping,
        )
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
        self._membership = Membership(bus, self._surroundings, lease=self._presence.lease, abandon=self._lives.abandon)
        self._sweeper = Sweeper(
            engine,
            self._claimed_names,
            is_anothers=self._membership.is_anothers,
            every_seconds=sweep_seconds,
            dry_run=sweep_dry_run,
        )
        self._answering = partial(bus.questions.answer, identity.runner_id, Answers(engine).answer)
        self._reclaims = Reclaims(bus.decisions, journal, self._claiming.decide)
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
                    group.create_task(self._lives.cancels.run(), name="hear of cancels"),
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
                await self._claiming.finished()
                # What is kept warm is removed meanwhile.
                self._warming.stop()
                await self._lives.wind_down(self._stop_at - time.monotonic())
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
            if not (is_ours and self._lives.begin(life, group, taken_up=leftover.was_started)):
                self._slots.give_back()
                if not leftover.is_ours_for_sure:
                    await life.clean_up()

    async def _claimed_names(self) -> frozenset[str]:
        claimed = {container_name(*claimed.key) for claimed in await self._journal.claims()}
        # What is kept warm is taken while its claim is still on its way into the journal.
        return frozenset(claimed | {life.name for life in self._lives.in_hand})

    async def _wait_for_slot(self, life: Execution) -> None:
        """Wait until there is room for it, or it needs none, because it was cancelled."""
        while self._slots.free == 0:
            await self._lives.cancels.tell(life)
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
                    self._claiming.handle_soon(delivery, group)
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
            and len(self._lives.in_hand) - self._slots.used <= _MOST_TO_REMOVE
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

    async def _is_still_ours(self, claimed: Claimed) -> bool:
        """Whether a claim of an earlier life is to be run; not where its epoch is over."""
        try:
            return await self._claiming.is_ours(claimed)
        except Fenced:
            return False

    async def _stop_taking(self) -> None:
        try:
            async with asyncio.timeout(_STOP_TAKING_SECONDS):
                await self._bus.commands.stop_taking()
            failpoint("runner.stopped_taking")
        except (BusUnavailable, TimeoutError) as error:
            log.warning("could not stop taking commands", action="stop_taking_failed", error=str(error) or "timeout")

    async def _flush(self) -> None:
        if not await self._outbox.flushed(_FLUSH_SECONDS):
            log.warning("events wait for the next start", action="outbox_not_empty", bytes=self._journal.outbox_bytes)
