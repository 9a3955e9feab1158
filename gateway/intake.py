"""Accepting: from a request to a command that the bus has confirmed."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from bus.errors import BusError, BusUnavailable, UnknownPool
from bus.messages import Message
from bus.ports import Commands
from gateway import problems
from gateway.errors import OverlayFull, Refused
from gateway.overlay import Overlay
from gateway.ports import Catalogues, Fleet, View
from gateway.redrive import Redrive
from schemas.commands import ExecuteProgram, parse_execute
from schemas.errors import MalformedCommand
from schemas.executions import Execution
from schemas.ids import new_execution_id
from schemas.masking import parameters_line
from schemas.status import Status
from schemas.times import utc_now

log = structlog.get_logger()

#: Seconds in which a request is accepted or refused, however the bus is.
LIMIT_SECONDS = 1.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An execution that will run: the bus has confirmed it."""

    execution_id: str
    accepted_at: datetime


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
        queue_length: int,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        """``queue_length`` is how many commands may wait in a pool's queue."""
        self._catalogues = catalogues
        self._commands = commands
        self._overlay = overlay
        self._view = view
        self._fleet = fleet
        self._queue_length = queue_length
        self._limit_seconds = limit_seconds
        self._publishing: set[asyncio.Task[None]] = set()

    async def accept(
        self, name: str, parameters: dict[str, Any], *, submitted_by: str, redrive: Redrive | None = None
    ) -> Accepted:
        """Accept an execution of the program with this id or key; ``redrive`` is the dead letter it comes from, if any.

        A caller that is cancelled meanwhile leaves a publish that goes on to its end: it is never half done.

        Raises:
            Refused: nothing was accepted, or (as the problem then says) nobody knows whether it was.
        """
        deadline = asyncio.get_running_loop().time() + self._limit_seconds
        catalogue = self._catalogues.current
        program = catalogue.find(name)
        if program is None:
            raise Refused(problems.program_not_found(name))
        if not program.enabled:
            raise Refused(problems.program_disabled(name))
        pool = catalogue.pool_of(program)
        if redrive is not None and redrive.pool in catalogue.pools:
            pool = redrive.pool
        execution = Execution(
            execution_id=redrive.execution_id if redrive is not None else new_execution_id(),
            program_id=program.id,
            status=Status.QUEUED,
            submitted_by=submitted_by,
            accepted_at=(accepted_at := utc_now()),
        )
        message = _message(execution, parameters, redrive)

        if catalogue.rejects_on_limit(program):
            await self._refuse_above(self._fleet.capacity() or catalogue.settings.max_concurrent_executions)
        await self._admit(pool, deadline)
        publishing = asyncio.create_task(
            self._publish(pool, message, execution, deadline, parameters_line=parameters_line(program.parameters, parameters)),
            name=f"publish {execution.execution_id}",
        )
        self._publishing.add(publishing)
        publishing.add_done_callback(self._published)
        await asyncio.shield(publishing)
        return Accepted(execution_id=execution.execution_id, accepted_at=accepted_at)

    async def close(self) -> None:
        """Wait for the publishes whose callers have left; each has its own limit."""
        if self._publishing:
            await asyncio.wait(self._publishing)

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
        self, pool: str, message: Message, execution: Execution, deadline: float, *, parameters_line: str
    ) -> None:
        try:
            with self._overlay.room_for(execution):
                async with asyncio.timeout_at(deadline):
                    await self._commands.accept(pool, message)
        except OverlayFull as error:
            raise Refused(problems.view_behind()) from error
        except UnknownPool as error:
            raise Refused(problems.unknown_pool(pool)) from error
        except (BusError, TimeoutError) as error:
            # Without an answer in time the message may be on its way all the same.
            if isinstance(error, TimeoutError) or (isinstance(error, BusUnavailable) and error.outcome_unknown):
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

    def _published(self, publishing: asyncio.Task[None]) -> None:
        self._publishing.discard(publishing)
        if not publishing.cancelled() and (error := publishing.exception()) is not None:
            log.warning(
                "a command was not published",
                action="publish_failed",
                task=publishing.get_name(),
                error=repr(error.__cause__ or error),
            )


def _message(execution: Execution, parameters: dict[str, Any], redrive: Redrive | None) -> Message:
    command = ExecuteProgram(
        program_id=execution.program_id,
        parameters=parameters,
        submitted_by=execution.submitted_by,
        # Redriven again, it shall be the same command to the byte; the message says the time as well, in whole seconds.
        accepted_at=execution.accepted_at if redrive is None else None,
        redrive_of=redrive.redrive_of if redrive is not None else None,
    )
    try:
        body = command.to_bytes()
        # By the rule that runner and fold apply: what they would not understand must not be accepted.
        parse_execute(execution.execution_id, body)
    except MalformedCommand as error:
        raise Refused(problems.invalid_body(str(error), "malformed_command")) from error
    except (ValueError, RecursionError) as error:
        raise Refused(
            problems.invalid_body("the parameters are nested too deeply, or hold text that is not Unicode", "not_json")
        ) from error
    return Message(
        id=execution.execution_id,
        body=body,
        timestamp=execution.accepted_at,
        reply_to=redrive.reply_to if redrive is not None else None,
        correlation_id=redrive.correlation_id if redrive is not None else None,
    )
