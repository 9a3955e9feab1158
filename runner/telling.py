"""Tells what is heard of an attempt's preparation."""

from datetime import timedelta

from runner.journal import Journal
from runner.lines import Lines
from runner.preparation import Stage
from runner.reports import Reports
from schemas.progress_events import MAX_PROGRESS
from schemas.times import utc_now


class Telling:
    """The listener of one attempt: its stages go to the bus by way of the journal, its lines into its record."""

    def __init__(self, journal: Journal, reports: Reports, program_id: str, lines: Lines) -> None:
        self._journal = journal
        self._reports = reports
        self._program_id = program_id
        self._lines = lines
        self._last = utc_now()

    async def progress(self, stage: Stage) -> None:
        """See :class:`runner.preparation.Listener`."""
        # Their order is told by their times, also where the clock was set back in between.
        self._last = max(utc_now(), self._last + timedelta(microseconds=1))
        report = self._reports.progress(
            self._program_id,
            phase=stage.phase,
            message=stage.message[:MAX_PROGRESS],
            percent=stage.percent,
            happened_at=self._last,
        )
        await self._journal.tell(report)

    def say(self, prefix: str, said: bytes | str) -> None:
        """See :class:`runner.preparation.Listener`."""
        self._lines.add(prefix, said)
