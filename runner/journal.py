"""The runner's own durable record: what it has claimed, and what it must still tell."""

import asyncio
import contextlib
import itertools
import json
import secrets
import sqlite3
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from bus.file_lock import FileLock
from bus.messages import StreamName as BusStream
from runner.claimed import Claimed, ClaimState
from runner.course import Course
from runner.engine import Order, Share
from runner.errors import JournalError, JournalLocked
from runner.journal_tables import COUNT_OUTPUT, INSERT_REPORT, SCHEMA, SELECT_CLAIM, claim_of, ending_in, read_about, row_of
from runner.outgoing import Report, Waiting
from runner.output import Piece
from runner.writer_thread import WriterThread
from schemas.commands import ExecuteProgram
from schemas.events import AttemptEnded, Ended
from schemas.failpoints import failpoint
from schemas.output import StreamName

#: Reports that are kept at hand for who tells them, the newest, so that the file need not be asked for what was just written.
_MOST_AT_HAND = 64
#: Nonces of claims that are kept, the newest. More in a row than any runner loses to others.
_MOST_NONCES = 10_000


class Journal:
    """The record in one SQLite file, used by one runner at a time. Whatever a method did is on disk when it returns.

    While the disk is full the methods wait, and ``problem`` says so. Each may raise ``JournalError``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = WriterThread(path, SCHEMA)
        self._lock: FileLock | None = None
        self._epoch: str | None = None
        self._outbox_bytes = 0
        #: The newest reports of the outbox, in order; all of the file's with a number above that of the first are here.
        self._at_hand: deque[Waiting] = deque(maxlen=_MOST_AT_HAND)
        #: Number of the newest report of the outbox; ``None`` where that is not known.
        self._newest: int | None = None
        #: Set while reports wait, or may wait, in the outbox.
        self.reports_waiting = asyncio.Event()

    @property
    def epoch(self) -> str:
        """Identity of this record: a random UUID, made with the file and kept until it is over (:meth:`renew`)."""
        if self._epoch is None:
            raise JournalError("the journal is not open")
        return self._epoch

    @property
    def problem(self) -> str | None:
        """What keeps it from being written right now; ``None`` where nothing does."""
        return self._writer.problem

    @property
    def outbox_bytes(self) -> int:
        """Bytes that wait in the outbox."""
        return self._outbox_bytes

    async def open(self) -> None:
        """Take the file for this process alone.

        Raises:
            JournalLocked: another runner has it.
            JournalError: it can't be used.
        """
        await asyncio.to_thread(self._open)
        self._epoch, self._outbox_bytes = await self._writer.do(read_about)
        self.reports_waiting.set()

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self._path.with_name(self._path.name + ".lock"))
        except BlockingIOError as error:
            raise JournalLocked(
                f"another runner uses {self._path}: give each runner a state directory of its own (HUB_STATE_DIR)"
            ) from error
        except OSError as error:
            raise JournalError(f"{self._path} can't be used: {error}") from error
        try:
            self._writer.open()
        except BaseException:
            self._unlock()
            raise

    async def close(self) -> None:
        """Finish what was asked for and let the file go. Safe to repeat."""
        await asyncio.to_thread(self._writer.close)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def new_claim(self, execution_id: str, attempt: int, digest: str, command: ExecuteProgram) -> Claimed:
        """The wish to run an attempt, not written down yet."""
        return Claimed(
            execution_id=execution_id,
            attempt=attempt,
            epoch=self.epoch,
            nonce=secrets.token_hex(16),
            digest=digest,
            command=command,
        )

    async def claim(self, claimed: Claimed) -> bool:
        """Write down the wish to run an attempt, before anybody hears of it. False where this runner has claimed it before."""
        command = claimed.command.to_bytes().decode()

        def work(db: sqlite3.Connection) -> bool:
            inserted = db.execute(
                "INSERT INTO claims (execution_id, attempt, epoch, nonce, digest, command, state) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (*claimed.key, claimed.epoch, claimed.nonce, claimed.digest, command, claimed.state),
            )
            if not inserted.rowcount:
                return False
            number = db.execute("INSERT INTO nonces (nonce) VALUES (?)", (claimed.nonce,)).lastrowid or 0
            db.execute("DELETE FROM nonces WHERE number <= ?", (number - _MOST_NONCES,))
            return True

        is_new = await self._writer.do(work)
        failpoint("journal.claimed")
        return is_new

    async def claims(self) -> list[Claimed]:
        """Every claim that was not forgotten, in no particular order."""
        return await self._writer.do(lambda db: [claim_of(row) for row in db.execute(SELECT_CLAIM)])

    async def forget(self, claimed: Claimed) -> None:
        """Drop a claim: it is another's, or nothing is left of it."""

        def work(db: sqlite3.Connection) -> None:
            deleted = db.execute(
                "DELETE FROM claims WHERE execution_id = ? AND attempt = ? AND epoch = ?", (*claimed.key, claimed.epoch)
            )
            if deleted.rowcount:
                db.execute("DELETE FROM shares WHERE execution_id = ? AND attempt = ?", claimed.key)

        await self._writer.do(work, patient=True)
        failpoint("journal.forgotten")

    async def renew(self, epoch: str, *reports: Report) -> None:
        """Take a new epoch in place of one that is over. What was claimed under that one, and all that is not told yet, is
        forgotten; these are to be told instead. Where it is not the journal's any more, nothing happens.
        """
        rows = [row_of(report) for report in reports]
        new = str(uuid4())

        def work(db: sqlite3.Connection) -> tuple[str, int]:
            changed = db.execute("UPDATE about SET value = ? WHERE name = 'epoch' AND value = ?", (new, epoch))
            if changed.rowcount:
                db.execute("DELETE FROM claims WHERE epoch = ?", (epoch,))
                db.execute("DELETE FROM shares")
                db.execute("DELETE FROM outbox")
                db.executemany(INSERT_REPORT, rows)
            return read_about(db)

        def renewed(about: tuple[str, int]) -> None:
            failpoint("journal.renewed")
            # What is at hand is of the epoch that is over. Whoever reads the outbox from here on knows the new one.
            self._at_hand.clear()
            self._newest = None
            self._epoch, self._outbox_bytes = about
            self.reports_waiting.set()

        await self._writer.do(work, then=renewed)

    async def is_older_than(self, nonce: str) -> bool:
        """Whether a claim with this nonce, the newest that was won under this epoch, was made after this record was copied.

        Then the record that follows is somewhere else, or lost.
        """

        def work(db: sqlite3.Connection) -> bool:
            # One that an earlier version began can't tell.
            can_tell = db.execute("SELECT 1 FROM about WHERE name = 'keeps_nonces'").fetchone() is not None
            return can_tell and db.execute("SELECT 1 FROM nonces WHERE nonce = ?", (nonce,)).fetchone() is None

        return await self._writer.do(work)

    async def works_for(self, runner_id: str) -> bool:
        """Whether the last runner that settled in here had this id."""
        row = await self._writer.do(lambda db: db.execute("SELECT value FROM about WHERE name = 'runner_id'").fetchone())
        return row is not None and row[0] == runner_id

    async def settle(self, runner_id: str) -> None:
        """The runner of this id works with this record from now on."""
        await self._change("INSERT OR REPLACE INTO about VALUES ('runner_id', ?)", (runner_id,))

    async def starting(self, claimed: Claimed, course: Course) -> None:
        """A step is about to be ordered, or the program has ended: from the first order on the attempt counts as started,
        unless its container says that nothing has begun, or the attempt is another runner's.
        """
        await self._change(
            "UPDATE claims SET state = ?, program_id = ?, course = ? WHERE execution_id = ? AND attempt = ?",
            (ClaimState.STARTING, course.program_id, course.model_dump_json(), *claimed.key),
        )
        failpoint("journal.starting")

    async def started(self, claimed: Claimed, started_at: datetime, report: Report) -> None:
        """The program runs, which is reported."""
        await self._change(
            "UPDATE claims SET started_at = ? WHERE execution_id = ? AND attempt = ?",
            (started_at.isoformat(), *claimed.key),
            report,
        )
        failpoint("journal.started")

    async def wrote(self, claimed: Claimed, piece: Piece, report: Report) -> None:
        """The program wrote a piece of output, which is reported."""
        counted = (COUNT_OUTPUT[piece.stream], (len(piece.content), *claimed.key))
        written = None
        if piece.shares:
            shares = json.dumps([[share.source, share.size_bytes] for share in piece.shares], separators=(",", ":"))
            written = ("INSERT INTO shares VALUES (?, ?, ?, ?, ?)", (*claimed.key, piece.stream, piece.sequence, shares))
        await self._change(*counted, report, also=written)
        failpoint("journal.wrote")

    async def order(self, claimed: Claimed) -> Order:
        """Who wrote what of the output that was published of an attempt; nothing where it has but one writer."""

        def work(db: sqlite3.Connection) -> Order:
            order: dict[StreamName, list[Share]] = {}
            rows = db.execute(
                "SELECT stream, shares FROM shares WHERE execution_id = ? AND attempt = ? ORDER BY stream, sequence",
                claimed.key,
            )
            for stream, shares in rows:
                order.setdefault(StreamName(stream), []).extend(Share(*share) for share in json.loads(shares))
            return order

        return await self._writer.do(work)

    async def ended(self, claimed: Claimed, *reports: Report) -> None:
        """The attempt has ended: the rest of its output and its end are reported."""
        await self._change(
            "UPDATE claims SET state = ? WHERE execution_id = ? AND attempt = ?", (ClaimState.ENDED, *claimed.key), *reports
        )
        failpoint("journal.ended")

    async def tell(self, report: Report) -> None:
        """Something is to be told that changes nothing here."""
        await self._change("SELECT 1", (), report)
        failpoint("journal.noted")

    async def next_reports(self, limit: int, after: int = 0) -> Sequence[Waiting]:
        """The reports that wait longest, of those with a number above ``after``."""
        while self._at_hand and self._at_hand[0].number <= after:
            self._at_hand.popleft()
        # Without a gap, as numbers are given without one: else some were told, dropped, or too many to be kept at hand.
        if self._at_hand and self._at_hand[0].number == after + 1:
            return list(itertools.islice(self._at_hand, limit))
        if self._newest is not None and after >= self._newest:
            return []

        def work(db: sqlite3.Connection) -> list[Waiting]:
            rows = db.execute(
                "SELECT number, execution_id, stream, key, message_id, body FROM outbox WHERE number > ?"
                " ORDER BY number LIMIT ?",
                (after, limit),
            )
            return [Waiting(row[0], Report(row[1], BusStream(row[2]), *row[3:])) for row in rows]

        def read(found: list[Waiting]) -> None:
            if len(found) < limit:
                self._newest = found[-1].number if found else max(after, self._newest or 0)

        return await self._writer.do(work, then=read)

    async def untold_endings(self) -> list[Ended | AttemptEnded]:
        """The endings, of executions and of attempts, that wait in the outbox."""
        bodies = await self._writer.do(
            lambda db: db.execute("SELECT body FROM outbox WHERE stream = ? ORDER BY number", (BusStream.LOG,)).fetchall()
        )
        facts = [ending_in(body) for (body,) in bodies]
        return [fact for fact in facts if fact is not None]

    def told(self, reports: Sequence[Waiting]) -> asyncio.Future[int]:
        """These reports are on the bus. Asked for when this returns, and done some milliseconds later; nobody is in a hurry, as
        they may be told again.
        """
        numbers = [waiting.number for waiting in reports]
        # Of those that are still there: they may have been dropped with their epoch.
        delete = "DELETE FROM outbox WHERE number = ? RETURNING LENGTH(body)"

        def work(db: sqlite3.Connection) -> int:
            return sum(size for number in numbers for (size,) in db.execute(delete, (number,)).fetchall())

        def forgotten(told_bytes: int) -> None:
            failpoint("journal.told")
            self._outbox_bytes -= told_bytes
            for waiting in reports:
                with contextlib.suppress(ValueError):
                    self._at_hand.remove(waiting)

        return self._writer.ask(work, then=forgotten, patient=True)

    async def _change(
        self, sql: str, values: Sequence[object], *reports: Report, also: tuple[str, Sequence[object]] | None = None
    ) -> None:
        rows = [row_of(report) for report in reports]

        def work(db: sqlite3.Connection) -> list[int]:
            db.execute(sql, values)
            if also is not None:
                db.execute(*also)
            return [db.execute(INSERT_REPORT, row).lastrowid or 0 for row in rows]

        def written(numbers: list[int]) -> None:
            self._at_hand.extend(map(Waiting, numbers, reports))
            self._newest = numbers[-1]
            self._outbox_bytes += sum(len(report.body) for report in reports)
            self.reports_waiting.set()

        # Whoever is cancelled meanwhile has written it all the same, so it is to be told.
        await self._writer.do(work, then=written if reports else None)
