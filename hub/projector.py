"""The projector: reads the log and the output into the view, and wakes whoever waits for what is new there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable, StreamGap
from bus.messages import Batch, Record, Source, StreamName
from bus.ports import Streams
from gateway.errors import ViewUnavailable
from hub.batches import closing, gathered
from hub.endings import Endings
from hub.gaps import Gaps
from hub.log_entries import Skip
from hub.view import View
from schemas.executions import CleanedUp
from schemas.status import Status

_log = structlog.get_logger()

#: Repetitions are part of the bus: who is not sure that a message arrived sends it again.
_ORDINARY = frozenset({Skip.DUPLICATE, Skip.REMOVED})

#: How the keys of output begin, and those of starts.
_OUTPUT_KEYS, _STARTS = "output.", f"execution.{Status.RUNNING.value}."

#: What a gap means for users.
_CONSEQUENCES = {
    StreamName.LOG: "Executions may be missing, and some may be shown as they were before it.",
    StreamName.OUTPUT: "Some output may be missing, and is marked as incomplete then.",
}


class Projector:
    """Two readers of streams. Killed at any instant, it goes on exactly after what the view holds."""

    def __init__(
        self,
        streams: Streams,
        view: View,
        endings: Endings,
        *,
        keep_finished: Callable[[], int],
        on_transitions: Callable[[], None],
        on_cleanups: Callable[[Mapping[str, CleanedUp]], None] = lambda _: None,
        on_new_log: Callable[[], None] = lambda: None,
        gaps: Gaps | None = None,
    ) -> None:
        """``keep_finished`` says how many finished executions the view keeps; ``on_transitions`` and ``on_cleanups`` are called
        after each batch that made some, ``on_new_log`` when the log is another one than before, whose places begin anew.
        """
        self._on_new_log = on_new_log
        #: What was found to be missing.
        self.gaps = gaps or Gaps()
        self._streams = streams
        self._view = view
        self._endings = endings
        self._keep_finished = keep_finished
        self._on_transitions = on_transitions
        self._on_cleanups = on_cleanups
        self._problems: dict[StreamName, str] = {}

    @property
    def problem(self) -> str | None:
        """What is wrong with the view right now; ``None`` where nothing is."""
        return next(iter(self._problems.values()), None)

    async def run(self) -> None:
        """Read until cancelled. Bus and view may come and go; anything else ends it."""
        async with asyncio.TaskGroup() as readers:
            readers.create_task(self._follow(StreamName.LOG, self._project_log), name="projector: log")
            readers.create_task(self._follow(StreamName.OUTPUT, self._project_output), name="projector: output")

    async def _follow(self, stream: StreamName, project: Callable[[Batch], Awaitable[None]]) -> None:
        backoff = Backoff()
        gap: StreamGap | None = None
        while True:
            try:
                if gap is not None:
                    await self._get_over(stream, gap)
                # After a gap from the first record that is there: what was applied before changes nothing.
                position = await self._view.position(stream) if gap is None else None
                self._problems.pop(stream, None)
                # After a failed commit nobody was told, though it may have been carried out.
                self._on_transitions()
                self._endings.wake_all()
                async with (
                    closing(self._streams.read(stream, position)) as read,
                    closing(gathered(read, self._is_awaited, is_followed=_is_followed)) as batches,
                ):
                    async for batch in batches:
                        await project(batch)
                        gap = None
                        backoff.reset()
            except StreamGap as found:
                gap = found
                self.gaps.found(stream.value, gap, _CONSEQUENCES[stream])
                continue
            except (BusUnavailable, ViewUnavailable) as error:
                # What is wrong with the bus, the bus itself says in its state.
                if isinstance(error, ViewUnavailable):
                    self._problems[stream] = str(error)
                _log.warning("reading again soon", action="projector_waits", stream=stream.value, error=str(error))
            await backoff.pause()

    async def _get_over(self, stream: StreamName, gap: StreamGap) -> None:
        """What is known stays known: the view's executions and counts outlive their log, and what comes is added to them."""
        if gap.replaced and await self._view.position(stream) == gap.expected:
            await self._view.begin_anew(stream)
            if stream is StreamName.LOG:
                self._on_new_log()

    def _is_awaited(self, record: Record) -> bool:
        """Whether somebody waits for this very record, as far as its names tell."""
        if record.key.startswith(_OUTPUT_KEYS):
            return self._endings.are_awaited(record.key.rpartition(".")[2])
        # The id of a command is the execution's, and that of an event begins with it.
        execution_id, _, rank = (record.message.id or "").partition(":")
        return self._endings.are_awaited(execution_id, by_its_end=rank == "end")

    async def _project_log(self, batch: Batch) -> None:
        applied = await self._view.apply_log(batch, keep_finished=self._keep_finished())
        if applied.transitions:
            self._on_transitions()
        if applied.cleanups:
            self._on_cleanups(applied.cleanups)
        self._endings.wake(applied.changed, ended=applied.ended, complete=applied.complete)
        odd = {skip.value: count for skip, count in applied.skipped.items() if skip not in _ORDINARY}
        if odd:
            _log.warning("records skipped", action="records_skipped", **odd)

    async def _project_output(self, batch: Batch) -> None:
        applied = await self._view.apply_output(batch)
        self._endings.wake(applied.executions)
        if applied.malformed:
            _log.warning("records skipped", action="records_skipped", malformed_output=applied.malformed)


def _is_followed(record: Record) -> bool:
    """Whether more is about to follow, most likely: a command is started soon, and a short program ends soon."""
    return record.source is Source.COMMANDS or record.key.startswith(_STARTS)
