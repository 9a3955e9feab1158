"""Those who follow executions: a bounded number, none of whom costs the others anything, however slowly they read."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gateway import problems
from gateway.errors import Refused
from gateway.execution_events import attempt_event, output_event, status_event
from gateway.ports import Endings, View
from gateway.sse import HEARTBEAT, server_sent
from schemas.following import Place, Sight

#: Followers at the same time; further ones are refused.
MOST_FOLLOWERS = 2_000
#: Seconds without an event after which a heartbeat is sent.
HEARTBEAT_SECONDS = 15.0
#: Seconds that an ending waits for output that it counts and that has not arrived.
OUTPUT_GRACE_SECONDS = 5.0
#: Seconds until the view shows what was only just accepted.
UNSEEN_SECONDS = 60.0
#: The id of the last event: whoever comes back with it has seen everything.
END = "end"
#: The event that an attempt has ended and another one follows.
ATTEMPT_ENDED = "attempt_ended"


@dataclass(frozen=True, slots=True)
class _Step:
    """What is told next, and where the follower is then."""

    events: bytes
    place: Place
    #: Whether the execution has ended and all its output was told.
    is_last: bool = False
    #: The event of its end, where its output has not all arrived.
    end: bytes | None = None


class _Patience:
    """A wait that begins when it is first looked at."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def left(self) -> float:
        """Seconds."""
        now = asyncio.get_running_loop().time()
        self._until = now + self._seconds if self._until is None else self._until
        return self._until - now

    def is_over(self) -> bool:
        """Whether it has lasted long enough."""
        return self.left() <= 0


class Followers:
    """Reads for followers from the view, each at its own pace: nothing is kept for one that stalls.

    Followers at the same place, woken by the same news, share what is read for them.
    """

    def __init__(
        self,
        view: View,
        endings: Endings,
        *,
        most: int = MOST_FOLLOWERS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        output_grace_seconds: float = OUTPUT_GRACE_SECONDS,
    ) -> None:
        self._view = view
        self._endings = endings
        self._most = most
        self._heartbeat_seconds = heartbeat_seconds
        self._output_grace_seconds = output_grace_seconds
        self._bells: set[asyncio.Event] = set()
        self._reading: dict[tuple[str, str], asyncio.Task[_Step | None]] = {}
        self._closed = False

    async def follow(self, execution_id: str, place: Place) -> AsyncGenerator[bytes, None]:
        """Server-sent events from a place on, to the end of the execution, or until :meth:`close`.

        Raises:
            Refused: as many follow already as may.
            ViewUnavailable: the view can't be read.
        """
        with self._bell(execution_id) as bell:
            # What was only just accepted is to be seen soon; what is not was removed.
            unseen = _Patience(UNSEEN_SECONDS)
            incomplete = _Patience(self._output_grace_seconds)
            while not self._closed:
                bell.clear()
                step = await self._step(execution_id, place)
                if step is not None and step.events:
                    yield step.events
                if step is not None and step.is_last:
                    return
                if step is not None and step.place != place:
                    place = step.place
                    continue
                patience = unseen if step is None else incomplete if step.end is not None else None
                if patience is not None and patience.is_over():
                    if step is not None and step.end is not None:
                        yield step.end
                    return
                left = self._heartbeat_seconds if patience is None else min(self._heartbeat_seconds, patience.left())
                try:
                    async with asyncio.timeout(left):
                        await bell.wait()
                except TimeoutError:
                    if patience is None:
                        yield HEARTBEAT

    def close(self) -> None:
        """Let all go, now: they come back to a gateway that lives."""
        self._closed = True
        for bell in self._bells:
            bell.set()

    @contextmanager
    def _bell(self, execution_id: str) -> Iterator[asyncio.Event]:
        if len(self._bells) >= self._most:
            raise Refused(problems.too_many_followers())
        with self._endings.watching(execution_id) as bell:
            self._bells.add(bell)
            try:
                yield bell
            finally:
                self._bells.discard(bell)

    async def _step(self, execution_id: str, place: Place) -> _Step | None:
        key = execution_id, str(place)
        task = self._reading.get(key)
        if task is None:
            task = asyncio.create_task(self._look(execution_id, place), name="read for followers")
            self._reading[key] = task
            task.add_done_callback(lambda _: self._reading.pop(key, None))
        # One of them may leave meanwhile, and the others still want it.
        return await asyncio.shield(task)

    async def _look(self, execution_id: str, place: Place) -> _Step | None:
        sight = await self._view.sight(execution_id, place)
        return None if sight is None else _step_of(sight, place)


def _step_of(sight: Sight, place: Place) -> _Step:
    execution = sight.execution
    events: list[bytes] = []
    if execution.attempt > place.attempt and sight.complete:
        left = attempt_event(execution, place.attempt)
        place = Place(attempt=place.attempt + 1)
        # What was seen is all of that attempt; the next one is looked at next.
        told = b"" if left is None else server_sent(event=ATTEMPT_ENDED, event_id=str(place), data=left.to_bytes())
        return _Step(told, place)
    if execution.attempt == place.attempt and execution.retry_at is None:
        # An end is told after the output, every other status before it.
        rank = min(execution.status.rank, 1)
        if place.ranks_told <= rank and not execution.status.is_terminal:
            place = replace(place, ranks_told=rank + 1)
            events.append(_status(sight, str(place)))
    for piece in sight.pieces:
        place = place.after(piece)
        output = output_event(execution, place.attempt, piece)
        events.append(server_sent(event="output", event_id=str(place), data=output.to_bytes()))
    has_ended = execution.status.is_terminal and execution.attempt == place.attempt
    if has_ended and sight.complete:
        events.append(_status(sight, END))
        return _Step(b"".join(events), place, is_last=True)
    if events or not has_ended or sight.pieces:
        return _Step(b"".join(events), place)
    return _Step(b"", place, end=_status(sight, END))


def _status(sight: Sight, event_id: str) -> bytes:
    told = status_event(sight.execution)
    return server_sent(event=sight.execution.status.value, event_id=event_id, data=told.to_bytes())
