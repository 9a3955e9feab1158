"""Streams on the embedded bus."""

import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from functools import partial

from bus import topology
from bus.embedded.rows import COLUMNS, PLACES, from_row, to_row
from bus.embedded.store import Store
from bus.embedded.tide import Tide
from bus.errors import StreamGap
from bus.messages import Batch, Message, Position, Record, Source, StreamName

#: Records of one batch. Pieces of output are up to 90 KB each, all else is small.
_BATCH = {StreamName.LOG: 1_000, StreamName.OUTPUT: 200, StreamName.STATE: 1_000}
#: The state has no age limit.
_AGE_DAYS = {StreamName.LOG: topology.LOG_AGE_DAYS, StreamName.OUTPUT: topology.OUTPUT_AGE_DAYS}
#: Records that are removed in one transaction, so that none takes long.
_PRUNED_AT_A_TIME = 1_000


class EmbeddedStreams:
    """Keeps the promises of :class:`bus.ports.Streams`."""

    def __init__(self, store: Store, tides: Mapping[StreamName, Tide]) -> None:
        """``tides`` rise when a stream grows."""
        self._store = store
        self._tides = tides

    async def append(self, stream: StreamName, key: str, message: Message) -> None:
        """Append one report."""
        topology.check_report_key(stream, key)

        def insert(database: sqlite3.Connection) -> None:
            append_to(database, stream, Source.REPORTS, key, message)

        await self._store.write(insert, lambda _: self._tides[stream].rise())

    def read(self, stream: StreamName, after: Position | None) -> AsyncIterator[Batch]:
        """Batches of records after a position, then new ones as they come."""
        return self._read(stream, after)

    async def _read(self, stream: StreamName, after: Position | None) -> AsyncGenerator[Batch, None]:
        if after is not None:
            await self._compare(stream, after)
        offset = 0 if after is None else after.offset
        tide = self._tides[stream]
        while True:
            height = tide.height
            batch = await self._store.read(partial(_records, stream=stream, offset=offset))
            if batch:
                offset = batch[-1].position.offset
                yield batch
            else:
                await tide.above(height)

    async def prune(self) -> None:
        """Remove what is older than its stream keeps."""
        for stream, days in _AGE_DAYS.items():
            before = time.time() - days * topology.DAY_SECONDS
            while await self._store.write(partial(_prune, stream=stream, before=before)):
                pass

    async def _compare(self, stream: StreamName, after: Position) -> None:
        """Say so where the file is not the one that the position was in, or has lost what comes after it."""

        def there(database: sqlite3.Connection) -> Position | None:
            found = database.execute(
                f"SELECT stream_offset, message_id FROM stream_{stream.value} WHERE stream_offset >= ?"  # noqa: S608
                " ORDER BY stream_offset LIMIT 1",
                (after.offset,),
            ).fetchone()
            return None if found is None else Position(*found)

        seen = await self._store.read(there)
        # Where the last record is the one that was removed, all after it is there.
        if seen is None or (seen != after and seen.offset != after.offset + 1):
            raise StreamGap(f"the stream {stream.value}", after, seen)

    async def end(self, stream: StreamName) -> int | None:
        """Place of the last record that is there."""

        def last(database: sqlite3.Connection) -> int | None:
            found: int | None = database.execute(f"SELECT MAX(stream_offset) FROM stream_{stream.value}").fetchone()[0]  # noqa: S608
            return found

        return await self._store.read(last)


def append_to(database: sqlite3.Connection, stream: StreamName, source: Source, key: str, message: Message) -> None:
    """Append one record, in the writer's thread."""
    database.execute(
        f"INSERT INTO stream_{stream.value} (appended_at, source, key, {COLUMNS}) VALUES (?, ?, ?, {PLACES})",  # noqa: S608
        (time.time(), source.value, key, *to_row(message)),
    )


def _records(database: sqlite3.Connection, stream: StreamName, offset: int) -> list[Record]:
    rows = database.execute(
        f"SELECT stream_offset, source, key, {COLUMNS} FROM stream_{stream.value}"  # noqa: S608
        " WHERE stream_offset > ? ORDER BY stream_offset LIMIT ?",
        (offset, _BATCH[stream]),
    )
    return [_record(*row) for row in rows]


def _record(offset: int, source: str, key: str, *row: object) -> Record:
    message = from_row(row)  # type: ignore[arg-type]
    return Record(position=Position(offset, message.id), source=Source(source), key=key, message=message)


def _prune(database: sqlite3.Connection, stream: StreamName, before: float) -> int:
    table = f"stream_{stream.value}"
    # Places rise with time, so the oldest are the first ones; the newest stays, for the numbering to go on.
    return database.execute(
        f"DELETE FROM {table} WHERE stream_offset IN ("  # noqa: S608
        f" SELECT stream_offset FROM (SELECT stream_offset, appended_at FROM {table} ORDER BY stream_offset LIMIT ?)"
        " WHERE appended_at < ?)",
        (_PRUNED_AT_A_TIME, before),
    ).rowcount
