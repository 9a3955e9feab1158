"""Announcements on the embedded bus: everybody is in this process."""

import asyncio
import sqlite3
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from bus import topology
from bus.embedded.rows import COLUMNS, PLACES, from_row, to_row
from bus.embedded.store import Store
from bus.embedded.tide import Tide
from bus.messages import Announcement, Message
from bus.ports import Holder


class EmbeddedAnnouncements:
    """Keeps the promises of :class:`bus.ports.Announcements`."""

    def __init__(self, store: Store, *, named_length: int = topology.NAMED_SUBSCRIPTION_LENGTH) -> None:
        """``named_length`` is how many announcements wait for a named subscriber; the oldest are dropped."""
        self._store = store
        self._named_length = named_length
        self._lock = asyncio.Lock()
        self._live: set[_LiveSubscription] = set()
        #: By name of a durable subscription.
        self._patterns: dict[str, set[str]] = defaultdict(set)
        self._announced = Tide()

    async def open(self) -> None:
        """Find the durable subscriptions again."""
        for name, pattern in await self._store.read(_subscriptions):
            self._patterns[name].add(pattern)

    def close(self) -> None:
        """Whoever waits for an announcement gets BusClosed."""
        self._announced.close()
        for subscription in self._live:
            subscription.close()

    @asynccontextmanager
    async def hold(self) -> AsyncGenerator[Holder, None]:
        """Hold the lock, which nobody outside this process wants."""
        async with self._lock:
            yield EmbeddedHolder(self, self._store, await self._store.read(_checkpoint))

    @asynccontextmanager
    async def subscribe(
        self, patterns: list[str], *, name: str | None = None
    ) -> AsyncGenerator[AsyncIterator[Announcement], None]:
        """Announcements that match, from entering the context on."""
        if name is not None:
            topology.subscriber_queue(name)
            await self._store.write(lambda database: _subscribe(database, name, patterns))
            self._patterns[name].update(patterns)
            named = _NamedSubscription(self._store, self._announced, name)
            yield named
            # Left in order: the last one was dealt with. Left by an error, it comes again.
            await named.settle()
            return
        live = _LiveSubscription(patterns)
        self._live.add(live)
        try:
            yield live
        finally:
            self._live.discard(live)

    async def publish(self, key: str, message: Message) -> None:
        """Give it to everybody whose patterns match."""
        for subscription in self._live:
            if topology.matches(subscription.patterns, key):
                subscription.offer(Announcement(key=key, message=message))
        names = [name for name, patterns in self._patterns.items() if topology.matches(patterns, key)]
        if names:
            await self._store.write(
                lambda database: self._keep(database, names, key, message), lambda _: self._announced.rise()
            )

    def _keep(self, database: sqlite3.Connection, names: list[str], key: str, message: Message) -> None:
        for name in names:
            database.execute(
                f"INSERT INTO announcements (name, key, {COLUMNS}) VALUES (?, ?, {PLACES})",  # noqa: S608
                (name, key, *to_row(message)),
            )
            database.execute(
                "DELETE FROM announcements WHERE name = ? AND sequence <="
                " (SELECT sequence FROM announcements WHERE name = ? ORDER BY sequence DESC LIMIT 1 OFFSET ?)",
                (name, name, self._named_length),
            )


class EmbeddedHolder:
    """Keeps the promises of :class:`bus.ports.Holder`."""

    def __init__(self, announcements: EmbeddedAnnouncements, store: Store, position: int | None) -> None:
        self._announcements = announcements
        self._store = store
        self._position = position

    @property
    def position(self) -> int | None:
        """Offset of the last record whose transition was announced."""
        return self._position

    async def announce(self, key: str, message: Message) -> None:
        """Give it to every subscriber that bound the key."""
        await self._announcements.publish(key, message)

    async def announce_all(self, announcements: Sequence[Announcement]) -> None:
        """Give each to every subscriber that bound its key."""
        for each in announcements:
            await self._announcements.publish(each.key, each.message)

    async def reply(self, queue: str, message: Message) -> None:
        """Nobody can have a queue on this bus, so nobody waits."""

    async def advance(self, position: int) -> None:
        """Record that everything up to this offset was announced."""
        await self._store.write(lambda database: _advance(database, position))
        self._position = position


class _LiveSubscription:
    """A bounded queue in memory; when it is full, the oldest are dropped."""

    def __init__(self, patterns: list[str]) -> None:
        self.patterns = patterns
        self._queue: deque[Announcement] = deque(maxlen=topology.SUBSCRIPTION_LENGTH)
        self._arrived = Tide()

    def offer(self, announcement: Announcement) -> None:
        self._queue.append(announcement)
        self._arrived.rise()

    def close(self) -> None:
        self._arrived.close()

    def __aiter__(self) -> "_LiveSubscription":
        return self

    async def __anext__(self) -> Announcement:
        while True:
            height = self._arrived.height
            if self._queue:
                return self._queue.popleft()
            await self._arrived.above(height)


class _NamedSubscription:
    """What waits in the file for one name; each announcement is settled when the next one is asked for."""

    def __init__(self, store: Store, announced: Tide, name: str) -> None:
        self._store = store
        self._announced = announced
        self._name = name
        self._in_hand: int | None = None

    def __aiter__(self) -> "_NamedSubscription":
        return self

    async def __anext__(self) -> Announcement:
        await self.settle()
        while True:
            height = self._announced.height
            found = await self._store.read(lambda database: _next_announcement(database, self._name))
            if found is not None:
                self._in_hand, announcement = found
                return announcement
            await self._announced.above(height)

    async def settle(self) -> None:
        """The announcement that was handed out has been dealt with."""
        in_hand, self._in_hand = self._in_hand, None
        if in_hand is not None:
            await self._store.write(partial(_settle, sequence=in_hand))


def _subscriptions(database: sqlite3.Connection) -> list[tuple[str, str]]:
    return database.execute("SELECT name, pattern FROM subscriptions").fetchall()


def _subscribe(database: sqlite3.Connection, name: str, patterns: list[str]) -> None:
    database.executemany(
        "INSERT OR IGNORE INTO subscriptions (name, pattern) VALUES (?, ?)", [(name, pattern) for pattern in patterns]
    )


def _next_announcement(database: sqlite3.Connection, name: str) -> tuple[int, Announcement] | None:
    row = database.execute(
        f"SELECT sequence, key, {COLUMNS} FROM announcements WHERE name = ? ORDER BY sequence LIMIT 1",  # noqa: S608
        (name,),
    ).fetchone()
    return None if row is None else (row[0], Announcement(key=row[1], message=from_row(row[2:])))


def _settle(database: sqlite3.Connection, sequence: int) -> None:
    database.execute("DELETE FROM announcements WHERE sequence = ?", (sequence,))


def _checkpoint(database: sqlite3.Connection) -> int | None:
    row = database.execute("SELECT position FROM checkpoint").fetchone()
    return None if row is None else row[0]


def _advance(database: sqlite3.Connection, position: int) -> None:
    database.execute("INSERT OR REPLACE INTO checkpoint (only, position) VALUES (1, ?)", (position,))
