"""Accepting: from a request to a command that the bus has confirmed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from bus.errors import BusError, BusUnavailable, UnknownPool
from bus.messages import Message
from bus.ports import Commands
from gateway import problems
from gateway.errors import OverlayFull, Refused
from gateway.overlay import Overlay
from gateway.ports import Catalogues, Fleet, Room, View
from gateway.redrive import Redrive
from gateway.repeats import Repeats
from gateway.withdrawals import Withdrawals
from schemas.commands import ExecuteProgram, digest_of, parse_execute
from schemas.errors import MalformedCommand
from schemas.executions import Execution, Remembered
from schemas.failpoints import failpoint
from schemas.ids import new_execution_id
from schemas.masking import parameters_line
from schemas.status import Status
from schemas.times import utc_now

log = structlog.get_logger()

#: Seconds in which a request is accepted or refused, however the bus is.
LIMIT_SECONDS = 1.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An execution that will run: the bus has confirmed it. Or one that an earlier request with the same key asked for."""

    execution_id: str
    accepted_at: datetime
    #: Of what was asked for; ``None`` where that can't be told any more.
    digest: str | None
    status: Status = Status.QUEUED
    #: Whether an earlier request asked for it.
    replayed: bool = False


class Intake:
    """Turns requests into accepted executions, or refuses them."""

    def __init__(
        self,
        *,
        catalogues: Catalogues,
        commands: Commands,
        overlay: Overlay,
        view: View,
        fleet: Fleet,
        repeats: Repeats,
        withdrawals: Withdrawals,
        queue_length: int,
        room: Room | None = None,
        limit_seconds: float = LIMIT_SECONDS,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """``queue_length`` is how many commands may wait in a pool's queue; without ``room`` nobody looks at the disk."""
        self._catalogues = catalogues
        self._commands = commands
        self._overlay = overlay
        self._view = view
        self._fleet = fleet
        self._repeats = repeats
        self._withdrawals = withdrawals
        self._clock = clock
        self._queue_length = queue_length
        self._room = room
        self._limit_seconds = limit_seconds
        #: By execution id.
        self._publishing: dict[str, asyncio.Task[None]] = {}

    async def accept(
        self,
        name: str,
        parameters: dict[str, Any],
        *,
        submitted_by: str,
        idempotency_key: str | None = None,
        redrive: Redrive | None = None,
    ) -> Accepted:
        """Accept an execution of the program with this id or key; with an idempotency key, once for all requests with it.

        ``redrive`` is the dead letter that it comes from, if any; its id is the same however often it is asked for.

        A caller that is cancelled meanwhile leaves a publish that goes on to its end: it is never half done.

        Raises:
            Refused: nothing was accepted, or (as the problem then says) nobody knows whether it was.
        """
        deadline = asyncio.get_running_loop().time() + self._limit_seconds
        if redrive is not None:
            return await self._accept(
                redrive.execution_id, name, parameters, submitted_by, deadline, may_repeat=True, redrive=redrive
            )
        if idempotency_key is None:
            return await self._accept(new_execution_id(), name, parameters, submitted_by, deadline, may_repeat=False)
        async with self._repeats.turn(submitted_by, idempotency_key, deadline) as ids:
            # Its caller has left, and the bus has not answered yet.
            if (publishing := self._publishing.get(ids.new)) is not None:
                await asyncio.wait({publishing}, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
                if not publishing.done():
                    raise Refused(problems.outcome_unknown(ids.new))
            # A program that is gone from the catalogue meanwhile makes no other request of a repeated one.
            if (known := await self._repeats.find(ids, deadline)) is not None:
                return self._repeated(known, name, parameters)
            return await self._accept(ids.new, name, parameters, submitted_by, deadline, may_repeat=True)

    def _repeated(self, known: Remembered, name: str, parameters: dict[str, Any]) -> Accepted:
        """The answer to a request whose key names this execution already."""
        program = self._catalogues.current.find(name)
        asked = ExecuteProgram(program_id=program.id if program else name, parameters=parameters)
        if known.digest not in (None, _understood(known.execution_id, asked)[1]):
            raise Refused(problems.idempotency_key_reused(known.execution_id))
        if known.removed:
            raise Refused(problems.execution_removed(known.execution_id, known.status))
        return Accepted(
            execution_id=known.execution_id,
            accepted_at=known.accepted_at or self._clock(),
            digest=known.digest,
            status=known.status,
            replayed=True,
        )

    async def _accept(
        self,
        execution_id: str,
        name: str,
        parameters: dict[str, Any],
        submitted_by: str,
        deadline: float,
        *,
        may_repeat: bool,
        redrive: Redrive | None = None,
    ) -> Accepted:
        catalogue = self._catalogues.current
        program = catalogue.find(name)
        if program is None:
            raise Refused(problems.program_not_found(name))
        if not program.enabled:
            raise Refused(problems.program_disabled(name))
        pool = catalogue.pool_of(program)
        if redrive is not None and redrive.pool in catalogue.pools:
            pool = redrive.pool
        accepted_at = self._clock()
        command = ExecuteProgram(
            program_id=program.id,
            parameters=parameters,
            submitted_by=submitted_by,
            accepted_at=accepted_at,
            redrive_of=redrive.redrive_of if redrive is not None else None,
        )
        body, digest = _understood(execution_id, command)
        execution = Execution(
            execution_id=execution_id,
            program_id=program.id,
            status=Status.QUEUED,
            submitted_by=submitted_by,
            accepted_at=accepted_at,
            digest=digest,
        )
        message = Message(
            id=execution_id,
            body=body,
            timestamp=accepted_at,
            reply_to=redrive.reply_to if redrive is not None else None,
            correlation_id=redrive.correlation_id if redrive is not None else None,
        )

        if self._room is not None and self._room.problem is not None:
            raise Refused(problems.no_room())
        if catalogue.rejects_on_limit(program):
            await self._refuse_above(self._fleet.capacity() or catalogue.settings.max_concurrent_executions)
        await self._admit(pool, deadline)
        publishing = asyncio.create_task(
            self._publish(
                pool,
                message,
                execution,
                deadline,
                parameters_line=parameters_line(program.parameters, parameters),
                may_repeat=may_repeat,
            ),
            name=f"publish {execution_id}",
        )
        self._publishing[execution_id] = publishing
        publishing.add_done_callback(partial(self._published, execution_id))
        await asyncio.shield(publishing)
        return Accepted(execution_id=execution_id, accepted_at=accepted_at, digest=digest)

    async def close(self) -> None:
        """Wait for the publishes whose callers have left; each has its own limit."""
        if self._publishing:
            await asyncio.wait(self._publishing.values())

    async def _refuse_above(self, limit: int) -> None:
        """Refuse if as many executions wait or run as may run. Two requests at the same time may both pass."""
        # What is accepted counts once: here until the view shows it, and there from then on.
        await self._overlay.sweep(self._view)
        totals = (await self._view.statistics()).by_status
        under_way = sum(sum(totals.get(status, {}).values()) for status in (Status.QUEUED, Status.RUNNING))
        if under_way + len(self._overlay) >= limit:
            raise Refused(problems.concurrency_limit(limit))

    async def _admit(self, pool: str, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                waiting = await self._commands.waiting(pool)
        except UnknownPool as error:
            raise Refused(problems.unknown_pool(pool)) from error
        except (BusError, TimeoutError) as error:
            raise Refused(problems.bus_unavailable()) from error
        if waiting >= self._queue_length:
            raise Refused(problems.queue_full(pool, waiting))

    async def _publish(
        self,
        pool: str,
        message: Message,
        execution: Execution,
        deadline: float,
        *,
        parameters_line: str,
        may_repeat: bool,
    ) -> None:
        try:
            with self._overlay.room_for(execution):
                async with asyncio.timeout_at(deadline):
                    await self._commands.accept(pool, message)
                    failpoint("gateway.accepted")
        except OverlayFull as error:
            raise Refused(problems.view_behind()) from error
        except UnknownPool as error:
            raise Refused(problems.unknown_pool(pool)) from error
        except (BusError, TimeoutError) as error:
            # Without an answer in time the message may be on its way all the same.
            if isinstance(error, TimeoutError) or (isinstance(error, BusUnavailable) and error.outcome_unknown):
                if not may_repeat:
                    # Nobody can ask for the same execution again, so it had better not run.
                    self._withdrawals.add(execution.execution_id)
                raise Refused(problems.outcome_unknown(execution.execution_id)) from error
            raise Refused(problems.bus_unavailable()) from error
        log.info(
            "execution accepted",
            action="execution_accepted",
            execution_id=execution.execution_id,
            program_id=execution.program_id,
            submitted_by=execution.submitted_by,
        )
        log.info(parameters_line, action="program_parameters", execution_id=execution.execution_id)

    def _published(self, execution_id: str, publishing: asyncio.Task[None]) -> None:
        # The next one with the same key may have begun meanwhile.
        if self._publishing.get(execution_id) is publishing:
            del self._publishing[execution_id]
        if not publishing.cancelled() and (error := publishing.exception()) is not None:
            log.warning(
                "a command was not published",
                action="publish_failed",
                task=publishing.get_name(),
                error=repr(error.__cause__ or error),
            )


def _understood(execution_id: str, command: ExecuteProgram) -> tuple[bytes, str]:
    """The body of a command, and its digest as runner and fold will see it."""
    try:
        body = command.to_bytes()
        # By the rule that runner and fold apply: what they would not understand must not be accepted.
        _, understood = parse_execute(execution_id, body)
    except MalformedCommand as error:
        raise Refused(problems.invalid_body(str(error), "malformed_command")) from error
    except (ValueError, RecursionError) as error:
        raise Refused(
            problems.invalid_body("the parameters are nested too deeply, or hold text that is not Unicode", "not_json")
        ) from error
    return body, digest_of(understood)
