"""Long-lived tokens, remembered in the state stream: made on one gateway they hold on all, revoked on one they hold on none."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable, StreamGap
from bus.messages import Batch, Message, Position, Record, Source, StreamName
from bus.ports import Streams
from gateway.errors import InvalidToken, TokensUnavailable, TooManyTokens
from hub.batches import closing
from hub.gaps import Gaps
from hub.read_back import LIMIT_SECONDS, ReadBack
from hub.state_snapshots import StateSnapshots
from hub.token_table import MOST_TOKENS, TokenTable
from schemas.errors import MalformedRecord
from schemas.failpoints import failpoint
from schemas.times import utc_now
from schemas.tokens import (
    CREATED_KEY,
    MARK_KEY,
    PREFIX,
    REVOKED_KEY,
    SNAPSHOT_BEGUN_KEY,
    SNAPSHOT_PART_KEY,
    Scope,
    SnapshotBegun,
    SnapshotPart,
    TokenCreated,
    TokenRevoked,
    digest_of_token,
    parse_state,
)

_log = structlog.get_logger()

#: Random bytes of a token.
_SECRET_BYTES = 32
#: Seconds that a request waits for the tokens to be read once, after a start.
PATIENCE_SECONDS = 2.0
#: Seconds between two looks whether all that holds is to be said again.
LOOK_SECONDS = 600.0


class ApiTokens:
    """Keeps the promises of :class:`gateway.ports.ApiTokens`.

    The tokens are in memory, read from the stream's beginning at each start. Until everything that was in the stream at that
    moment has been read, no token is accepted: it may be one that was revoked.
    """

    def __init__(
        self,
        streams: Streams,
        *,
        clock: Callable[[], datetime] = utc_now,
        most_tokens: int = MOST_TOKENS,
        limit_seconds: float = LIMIT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        gaps: Gaps | None = None,
        snapshots_file: Path | None = None,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """``clock`` gives the time, aware and in UTC; ``limit_seconds`` is how long making or revoking may take.

        ``snapshots_file`` remembers where the next start may begin to read.
        """
        self._snapshots = StateSnapshots(snapshots_file)
        self._look_seconds = look_seconds
        #: Of the snapshot that is begun here: its id, and once it was read back, what held there.
        self._taking: str | None = None
        self._taken: list[SnapshotPart] = []
        self._lost_some = False
        self._streams = streams
        self._gaps = gaps or Gaps()
        self._clock = clock
        self._most_tokens = most_tokens
        self._patience_seconds = patience_seconds
        self._table = TokenTable(most_tokens=most_tokens)
        self._position: Position | None = None
        self._caught_up = asyncio.Event()
        self._written: ReadBack[bool] = ReadBack(streams, limit_seconds=limit_seconds)

    @property
    def problem(self) -> str | None:
        """Why no token is accepted; ``None`` where they are."""
        return None if self._caught_up.is_set() else "long-lived tokens are refused until all of them have been read"

    async def keep_short(self) -> None:
        """Say all that holds again, about once a day, so that starts need not read all that was ever said.

        To be run by the one process of the fleet that announces. Two at the same time do no harm.
        """
        while True:
            await self._caught_up.wait()
            if self._lost_some or self._snapshots.is_due(len(self._table), self._clock()):
                try:
                    await self._take_snapshot()
                except BusUnavailable as error:
                    _log.warning("the state is said again later", action="snapshot_delayed", error=str(error))
            await asyncio.sleep(self._look_seconds)

    async def _take_snapshot(self) -> None:
        snapshot_id = self._taking = str(uuid4())
        # What is said later must not bring back what was revoked in between: so it is what held in this very place.
        begun = SnapshotBegun(snapshot_id=snapshot_id, begun_at=self._clock())
        await self._write(SNAPSHOT_BEGUN_KEY, snapshot_id, begun.to_bytes())
        failpoint("snapshot.begun")
        for part in self._taken:
            await self._write(SNAPSHOT_PART_KEY, f"{snapshot_id}:{part.part}", part.to_bytes())
            failpoint("snapshot.part_written")
        _log.info("all that holds was said again", action="snapshot_taken", parts=len(self._taken), tokens=len(self._table))
        self._taken, self._lost_some = [], False

    async def run(self) -> None:
        """Read until cancelled. The bus may come and go; anything else ends it."""
        self._position = self._snapshots.load()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="tokens: read")
            tasks.create_task(self._catch_up(), name="tokens: catch up")

    async def caught_up(self, within_seconds: float) -> bool:
        """Whether the tokens have been read within that time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._caught_up.wait()
        return self._caught_up.is_set()

    async def verify(self, token: str) -> TokenCreated:
        """See :meth:`gateway.ports.ApiTokens.verify`."""
        await self._ready()
        # Looking up a digest takes as long for a near miss as for any other: there is nothing to measure.
        found = self._table.find(digest_of_token(token), self._clock())
        if found is None:
            raise InvalidToken("no such token")
        return found

    async def create(self, *, name: str, scope: Scope, days: int | None, created_by: str) -> tuple[TokenCreated, str]:
        """See :meth:`gateway.ports.ApiTokens.create`."""
        await self._ready()
        token = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        now = self._clock()
        created = TokenCreated(
            token_id=str(uuid4()),
            name=name,
            scope=scope,
            digest=digest_of_token(token),
            created_at=now,
            created_by=created_by,
            expires_at=None if days is None else now + timedelta(days=days),
        )
        if not await self._write(CREATED_KEY, created.token_id, created.to_bytes()):
            raise TooManyTokens(self._most_tokens)
        _log.info("token made", action="token_created", token_id=created.token_id, name=name, created_by=created_by)
        return created, token

    async def all(self) -> Sequence[TokenCreated]:
        """See :meth:`gateway.ports.ApiTokens.all`."""
        await self._ready()
        return self._table.all(self._clock())

    async def revoke(self, token_id: str, *, revoked_by: str) -> bool:
        """See :meth:`gateway.ports.ApiTokens.revoke`."""
        await self._ready()
        if not self._table.holds(token_id, self._clock()):
            return False
        revoked = TokenRevoked(token_id=token_id, revoked_at=self._clock(), revoked_by=revoked_by)
        # Another gateway may have been quicker; for whoever asked, the token is revoked either way.
        await self._write(REVOKED_KEY, f"{token_id}:revoked:{uuid4()}", revoked.to_bytes())
        _log.info("token revoked", action="token_revoked", token_id=token_id, revoked_by=revoked_by)
        return True

    async def _ready(self) -> None:
        if not self._caught_up.is_set() and not await self.caught_up(self._patience_seconds):
            raise TokensUnavailable("the tokens have not been read yet")

    async def _write(self, key: str, record_id: str, body: bytes) -> bool:
        message = Message(id=record_id, body=body, timestamp=self._clock())
        try:
            return await self._written.write(StreamName.STATE, key, message)
        except TimeoutError as error:
            raise BusUnavailable("a token's record was not read back in time", outcome_unknown=True) from error

    async def _catch_up(self) -> None:
        """Write a mark: once it has been read, so has everything that was confirmed to anybody before."""
        backoff = Backoff()
        while not self._caught_up.is_set():
            try:
                await self._write(MARK_KEY, str(uuid4()), b"{}")
            except BusUnavailable as error:
                _log.warning("the tokens can't be read yet", action="tokens_awaited", error=str(error))
                await backoff.pause()
            else:
                self._caught_up.set()

    async def _follow(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with closing(self._streams.read(StreamName.STATE, self._position)) as batches:
                    async for batch in batches:
                        self._apply(batch)
                        backoff.reset()
            except StreamGap as gap:
                # What is known stays known, and is read anew, without what it does not hold any more.
                self._gaps.found(StreamName.STATE.value, gap, "Long-lived tokens may be missing.")
                self._position, self._lost_some = None, True
                self._snapshots.forget()
            except BusUnavailable as error:
                _log.warning("reading again soon", action="tokens_wait", error=str(error))
            await backoff.pause()

    def _apply(self, batch: Batch) -> None:
        for record in batch:
            result = self._apply_one(record)
            self._position = record.position
            if record.message.id is not None:
                self._written.tell(record.message.id, result)

    def _apply_one(self, record: Record) -> bool:
        """What came of the record; false also for what says nothing of tokens."""
        if record.source is not Source.REPORTS:
            return False
        try:
            said = parse_state(record.key, record.message.body)
        except MalformedRecord as error:
            _log.warning("a record was skipped", action="records_skipped", error=str(error))
            return False
        match said:
            case SnapshotBegun():
                self._snapshots.begun(said, record.position)
                if said.snapshot_id == self._taking:
                    self._taken = self._table.snapshot(said.snapshot_id, self._clock())
                return True
            case SnapshotPart():
                if self._snapshots.part(said):
                    self._table.take(said)
                return True
        self._snapshots.passed()
        match said:
            case TokenCreated():
                return self._table.create(said)
            case TokenRevoked():
                return self._table.revoke(said)
        return False
