"""Where reading the state stream may begin: at the newest whole snapshot. Kept in a file that may be lost at any time."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from bus.messages import Position
from schemas.failpoints import failpoint
from schemas.tokens import SnapshotBegun, SnapshotPart

_log = structlog.get_logger()

#: How old a snapshot is before the next one is made.
SNAPSHOT_AGE = timedelta(days=1)


@dataclass
class _Begun:
    snapshot_id: str
    at: datetime
    position: Position
    #: Records since the whole one before it.
    records_before: int = 0
    parts: set[int] = field(default_factory=set)


class StateSnapshots:
    """Follows the snapshots of the stream, in its order."""

    def __init__(self, file: Path | None = None) -> None:
        """``file`` is where the place of the newest whole one is kept."""
        self._file = file
        self._begun: _Begun | None = None
        self._whole_at: datetime | None = None
        self._records_since = 0

    def load(self) -> Position | None:
        """The place of the newest whole snapshot as far as it is remembered here; reading goes on after it."""
        if self._file is None:
            return None
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
            at = datetime.fromisoformat(kept["at"])
            self._begun = _Begun(str(kept["snapshot_id"]), at, Position(int(kept["offset"]), str(kept["snapshot_id"])))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("the whole state is read", action="state_start_lost", error=str(error))
            return None
        return self._begun.position

    def forget(self) -> None:
        """The stream is another one: it is read from its first record."""
        self._begun, self._whole_at, self._records_since = None, None, 0

    def is_due(self, size: int, now: datetime) -> bool:
        """Whether it is time for the next one.

        It says ``size`` things, so it waits for as many records: thus the stream is at most twice as long as without it, and
        reading from it on never takes much longer than reading what it says.
        """
        if self._whole_at is not None and now - self._whole_at < SNAPSHOT_AGE:
            return False
        return self._records_since >= max(1, size)

    def passed(self) -> None:
        """A record that belongs to no snapshot was read."""
        self._records_since += 1

    def begun(self, said: SnapshotBegun, position: Position) -> None:
        """A snapshot begins in this place."""
        self._begun = _Begun(said.snapshot_id, said.begun_at, position, self._records_since)

    def part(self, said: SnapshotPart) -> bool:
        """Whether it is one of the newest snapshot that was begun, as far as was read. Others say what held once."""
        begun = self._begun
        if begun is None or begun.snapshot_id != said.snapshot_id:
            return False
        begun.parts.add(said.part)
        if len(begun.parts) == said.parts:
            self._whole_at = begun.at
            self._records_since, begun.records_before = self._records_since - begun.records_before, 0
            self._keep(begun)
        return True

    def _keep(self, begun: _Begun) -> None:
        if self._file is None:
            return
        kept = {"offset": begun.position.offset, "snapshot_id": begun.snapshot_id, "at": begun.at.isoformat()}
        aside = self._file.with_suffix(".new")
        try:
            aside.write_text(json.dumps(kept), encoding="utf-8")
            failpoint("snapshot.place_written")
            aside.replace(self._file)
            failpoint("snapshot.place_kept")
        except OSError as error:
            _log.warning("the next start reads more", action="state_start_not_kept", error=str(error))
