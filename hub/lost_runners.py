"""Lost runners: what they had claimed ends, with the reason.

Who has fallen silent for longer than its lease is fenced first, so that nothing it might claim any more decides anything. Then
each execution that it had claimed before the fence, and that the view does not show as ended, is given its terminal event until
the view shows it. All of it follows from the fences, the claims and the view, so a successor goes on where this process stood.
"""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from bus.attendance import Attendance
from bus.backoff import Backoff
from bus.errors import BusUnavailable
from bus.messages import CANCELLED, LEASE_SECONDS, Claim, Epoch, StreamName
from bus.ports import Decisions, Epochs, Leases, Streams
from gateway.errors import ViewUnavailable
from hub.attempts import message_of
from hub.fold import SOURCE
from schemas.attempts import ending_event
from schemas.events import AttemptEndedEvent, Ended, ExecutionEvent
from schemas.executions import Execution
from schemas.failpoints import failpoint
from schemas.ids import routable_program_id
from schemas.output import StreamSummary
from schemas.reasons import Reason
from schemas.retries import NEVER, Retry
from schemas.status import Status
from schemas.times import utc_now

_log = structlog.get_logger()

#: Claims that are looked at together.
_AT_ONCE = 500
#: Claims of executions that the view does not know which are looked at again with the next tick; most were removed long ago.
_MOST_UNKNOWN = 1_000
#: Ticks after which all claims of a silent epoch are looked at anew: the view may have come to know more of them.
_LOOK_ANEW_TICKS = 60
#: Seconds after which an event that the view does not show is written again.
_WRITE_AGAIN_SECONDS = 10.0


class Executions(Protocol):
    """Those of the view."""

    async def find_all(self, execution_ids: Iterable[str]) -> list[Execution]:
        """Those of these that the view knows.

        Raises:
            ViewUnavailable: the view can't be read.
        """


@dataclass
class _Open:
    """A claim of a silent epoch that the view does not show as ended."""

    claim: Claim
    #: ``None`` where the view does not know the execution, yet or any more.
    execution: Execution | None = None
    write_at: float = 0.0


def _never(_program: str) -> Retry:
    return NEVER


class LostRunners:
    """To be run by the one process of the fleet that announces. Two at the same time do no harm."""

    def __init__(
        self,
        decisions: Decisions,
        epochs: Epochs,
        leases: Leases,
        streams: Streams,
        executions: Executions,
        *,
        retry_of: Callable[[str], Retry] = _never,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """``retry_of`` says whether what failed of a program is tried again; ``lease_seconds`` is how far apart ticks are."""
        self._retry_of = retry_of
        self._decisions = decisions
        self._epochs = epochs
        self._leases = leases
        self._streams = streams
        self._executions = executions
        self._lease_seconds = lease_seconds
        #: Of silent epochs: how far their claims were looked at, and what of them is open, by execution.
        self._seen: dict[str, int] = {}
        self._open: defaultdict[str, dict[str, _Open]] = defaultdict(dict)
        #: Of epochs with claims: the newest one that there was with the tick before.
        self._newest: dict[str, int] = {}

    async def run(self) -> None:
        """Look after every tick, until cancelled. Bus and view may come and go; anything else ends it."""
        backoff = Backoff()
        while True:
            self._seen.clear()
            self._open.clear()
            self._newest.clear()
            try:
                async for attendance in self._leases.ticks(self._lease_seconds):
                    try:
                        await self._look(attendance)
                        backoff.reset()
                    except (BusUnavailable, ViewUnavailable) as error:
                        _log.warning("lost runners are looked for later", action="lost_runners_wait", error=str(error))
            except BusUnavailable as error:
                _log.warning("ticks are written later", action="lost_runners_wait", error=str(error))
            await backoff.pause()

    async def _look(self, attendance: Attendance) -> None:
        if attendance.ticks % _LOOK_ANEW_TICKS == 0:
            self._seen.clear()
        before, self._newest = self._newest, {}
        for epoch in await self._epochs.with_claims():
            self._newest[epoch.epoch] = epoch.last_claim
            if epoch.is_fenced or attendance.is_silent(epoch.epoch):
                await self._collect(epoch)
                # Who claims has written a lease not long before, to another stream: that of a new claim may not be read yet.
                if epoch.is_fenced or epoch.last_claim <= before.get(epoch.epoch, 0):
                    await self._end(epoch, epoch.runner_id or attendance.runner_of(epoch.epoch))
            else:
                # It is back in time.
                self._open.pop(epoch.epoch, None)
                self._seen.pop(epoch.epoch, None)

    async def _collect(self, epoch: Epoch) -> None:
        """Take up the claims that were not looked at, and forget what the view shows as ended."""
        found = self._open[epoch.epoch]
        names = list(found)
        for start in range(0, len(names), _AT_ONCE):
            await self._keep_unfinished(found, {name: found.pop(name) for name in names[start : start + _AT_ONCE]})
        while self._seen.get(epoch.epoch, 0) < epoch.last_claim:
            claims = await self._epochs.claims_of(epoch.epoch, self._seen.get(epoch.epoch, 0), _AT_ONCE)
            await self._keep_unfinished(
                found, {claim.execution_id: _Open(claim) for _, claim in claims if claim.execution_id not in found}
            )
            self._seen[epoch.epoch] = claims[-1][0] if len(claims) == _AT_ONCE else epoch.last_claim

    async def _keep_unfinished(self, found: dict[str, _Open], looked_at: dict[str, _Open]) -> None:
        """Add to ``found`` those that the view does not show as ended, each with what it shows."""
        shown = {execution.execution_id: execution for execution in await self._executions.find_all(looked_at)}
        room = _MOST_UNKNOWN - sum(each.execution is None for each in found.values())
        for name, each in looked_at.items():
            each.execution = shown.get(name)
            if each.execution is None:
                room -= 1
            if (room >= 0) if each.execution is None else _is_open(each.execution, each.claim):
                found[name] = each

    async def _end(self, epoch: Epoch, runner_id: str | None) -> None:
        """Fence the epoch where something of it is open, and write what is to be written."""
        known = [each for each in self._open[epoch.epoch].values() if each.execution is not None]
        if known and not epoch.is_fenced:
            _log.warning(
                "a runner is lost", action="runner_lost", epoch=epoch.epoch, runner_id=runner_id, executions=len(known)
            )
            await self._epochs.fence(epoch.epoch)
            failpoint("lost_runners.fenced")
        for each in known:
            if each.execution is None or each.write_at > time.monotonic():
                continue
            following = await self._decisions.decision_for(each.claim.execution_id, each.claim.attempt + 1)
            if isinstance(following, Claim):
                continue  # the view will show that a later attempt is another's
            event = lost_event(each.execution, each.claim, runner_id, await self._retry(each.execution))
            await self._streams.append(StreamName.LOG, event.routing_key, message_of(event))
            failpoint("lost_runners.appended")
            each.write_at = time.monotonic() + _WRITE_AGAIN_SECONDS
            _log.info(
                "execution ended with its runner",
                action="execution_ended",
                execution_id=each.claim.execution_id,
                program_id=event.data.program_id,
                status=event.data.status.value,
                reason=Reason.RUNNER_LOST.value,
            )

    async def _retry(self, execution: Execution) -> Retry:
        """What is tried again; nothing that somebody has cancelled."""
        end = await self._decisions.end_of(execution.execution_id)
        return NEVER if end is not None and end.reason == CANCELLED else self._retry_of(execution.program_id)


def _is_open(execution: Execution, claim: Claim) -> bool:
    return not execution.status.is_terminal and execution.attempt <= claim.attempt


def lost_event(
    execution: Execution, claim: Claim, runner_id: str | None, retry: Retry = NEVER
) -> ExecutionEvent | AttemptEndedEvent:
    """The event that a claimed attempt has ended with its runner; another one follows where the program asks for it."""
    runner_id = runner_id or execution.runner_id
    was_started = execution.status is Status.RUNNING and execution.attempt == claim.attempt
    # What was published is there; what the program wrote beyond that nobody knows.
    output = StreamSummary(truncated=was_started)
    fact = Ended(
        execution_id=execution.execution_id,
        program_id=routable_program_id(execution.program_id),
        attempt=claim.attempt,
        status=Status.FAILED,
        accepted_at=execution.accepted_at,
        submitted_by=execution.submitted_by,
        digest=claim.digest,
        started_at=execution.started_at if was_started else None,
        ended_at=utc_now(),
        runner_id=runner_id,
        reason=Reason.RUNNER_LOST,
        category=Reason.RUNNER_LOST.category,
        message=f"Runner {runner_id or 'of this execution'} was lost: nothing was heard of it for longer than its lease.",
        stdout=output,
        stderr=output,
    )
    return ending_event(fact, retry, source=SOURCE, draw=random.random())
