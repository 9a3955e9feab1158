"""The connections of a process to RabbitMQ: plain ones, made again by ourselves when they are lost.

Not the library's robust connections: those bring back channels behind the back of whoever holds a delivery or a lock.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from yarl import URL

from bus.backoff import Backoff
from bus.errors import BusClosed, BusUnavailable
from bus.rabbitmq.calls import CALL_LIMIT_SECONDS, bounded, describe
from bus.rabbitmq.leniency import tolerate_foreign_properties
from bus.rabbitmq.nodes import Nodes
from bus.rabbitmq.silence import is_blocked, silence_of

log = structlog.get_logger()

#: Seconds between heartbeats: how soon the server notices that we are gone without a word (after two of them). That the server
#: is gone we notice sooner, by asking it.
HEARTBEAT_SECONDS = 7
#: Seconds for one attempt to connect.
CONNECT_LIMIT_SECONDS = 5.0
#: Seconds for a connection to say goodbye.
CLOSE_LIMIT_SECONDS = 1.0
#: Longest pause between two attempts, in seconds: how long a broker that is back may wait for us.
RECONNECT_PAUSE_SECONDS = 2.0

Prepare = Callable[[AbstractConnection], Awaitable[None]]


async def connect(nodes: Nodes, name: str) -> tuple[AbstractConnection, str]:
    """One plain connection, known to the server by ``name``, and the address of its node. Each node is tried once.

    Raises:
        BusUnavailable: it can't be made now.
    """
    for last in range(len(nodes) - 1, -1, -1):
        node = nodes.current
        try:
            return await _connect(node, name), node
        except BusUnavailable:
            nodes.leave(node)
            if last == 0:
                raise
    raise AssertionError("unreachable")


async def _connect(url: str, name: str) -> AbstractConnection:
    tolerate_foreign_properties()
    address = URL(url)
    address = address.with_query({"heartbeat": str(HEARTBEAT_SECONDS), "name": name, **address.query})
    connection = aio_pika.Connection(address)

    async def connected() -> AbstractConnection:
        try:
            await connection.connect()
        except BaseException:
            # Else the library does it once this is collected, when perhaps no loop runs any more.
            await connection.close()
            raise
        return connection

    return await bounded(connected(), CONNECT_LIMIT_SECONDS, "connecting to RabbitMQ")


def loss_of(connection: AbstractConnection) -> asyncio.Future[str]:
    """Is done, with the reason, once the connection is lost or closed."""
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_close(_: AbstractConnection | None, error: BaseException | None = None) -> None:
        if not lost.done():
            lost.set_result(describe(error))

    connection.close_callbacks.add(on_close)
    if not connection.connected.is_set():  # before anybody listened
        on_close(connection)
    return lost


async def open_channel(connection: AbstractConnection, *, on_return_raises: bool = False) -> AbstractChannel:
    """A channel with publisher confirms.

    Raises:
        BusUnavailable: it can't be opened.
    """

    async def opened() -> AbstractChannel:
        return await connection.channel(on_return_raises=on_return_raises)

    return await bounded(opened(), CALL_LIMIT_SECONDS, "opening a channel")


#: Channels that are on their way out. Each ends with its connection at the latest.
_goodbyes: set[asyncio.Future[None]] = set()


def _closed(goodbye: asyncio.Future[None]) -> None:
    _goodbyes.discard(goodbye)
    if not goodbye.cancelled() and (error := goodbye.exception()) is not None:
        log.debug("could not be closed in order", action="bus_close_failed", error=describe(error))


async def close_quietly(thing: AbstractConnection | AbstractChannel) -> None:
    """Close a connection or a channel, whatever state it is in.

    A channel whose server is slow to answer is not waited for, and closes by itself: to give that up would close it a second
    time, which the server punishes with the end of the whole connection (seen on a busy one).
    """
    if isinstance(thing, AbstractChannel):
        goodbye = asyncio.ensure_future(thing.close())
        _goodbyes.add(goodbye)
        goodbye.add_done_callback(_closed)
        await asyncio.wait({goodbye}, timeout=CLOSE_LIMIT_SECONDS)
        return
    try:
        await bounded(thing.close(), CLOSE_LIMIT_SECONDS, "closing")
    except BusUnavailable as error:
        log.debug("could not be closed in order", action="bus_close_failed", error=str(error))


@dataclass(frozen=True)
class _Line:
    """A connection, and what ends it."""

    connection: AbstractConnection
    #: Address of the node.
    node: str
    #: Is done, with the reason, once it is lost or closed.
    lost: asyncio.Future[str]
    #: Is done, with the reason, once somebody wants another node.
    moving: asyncio.Future[str]


class Link:
    """One connection that is made again whenever it is lost, from :meth:`open` to :meth:`close`."""

    def __init__(self, nodes: Nodes, *, name: str, prepare: Prepare | None = None) -> None:
        """``prepare`` is done with each new connection before anybody gets it."""
        self._nodes = nodes
        self._name = name
        self._prepare = prepare
        self._line: _Line | None = None
        self._arrived = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        #: Ends that take their time, of connections to servers that say nothing.
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._closed = False
        self._problem: str | None = "not connected to RabbitMQ yet"

    @property
    def problem(self) -> str | None:
        """What is wrong with the connection now; ``None`` where nothing is."""
        return self._problem

    @property
    def is_open(self) -> bool:
        """Whether the connection is looked after, be it there at this moment or not."""
        return self._keeper is not None

    async def open(self) -> None:
        """Connect. Safe to repeat.

        Raises:
            BusUnavailable: there is no connection to be had now.
            BusClosed: it was closed before.
        """
        if self._closed:
            raise BusClosed("the bus is closed")
        if self._keeper is None:
            line = await self._connect()
            self._keeper = asyncio.create_task(self._keep(line), name=f"RabbitMQ connection {self._name}")
            self._keeper.add_done_callback(self._kept)

    async def prepare_again(self) -> None:
        """Prepare the connection that is there once more.

        Raises:
            BusUnavailable: there is none, or it failed.
        """
        if self._line is None:
            raise BusUnavailable(self._problem or "not connected to RabbitMQ")
        if self._prepare is not None:
            await self._prepare(self._line.connection)

    async def close(self) -> None:
        """Disconnect; whoever waits for the connection gets BusClosed. Safe to repeat."""
        self._closed = True
        self._arrived.set()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            self._keeper = None
        line, self._line = self._line, None
        if line is not None:
            self._problem = "closed"
            await close_quietly(line.connection)
        if self._goodbyes:
            await asyncio.wait(self._goodbyes)

    async def channel(self, *, within_seconds: float = CALL_LIMIT_SECONDS, on_return_raises: bool = False) -> AbstractChannel:
        """A new channel, on the next connection where there is none now.

        Raises:
            BusUnavailable: there was no connection in time, or it failed.
            BusClosed: the bus was closed.
        """
        try:
            async with asyncio.timeout(within_seconds):
                await self._arrived.wait()
                if self._closed or self._line is None:
                    raise BusClosed("the bus is closed")
                return await open_channel(self._line.connection, on_return_raises=on_return_raises)
        except TimeoutError as error:
            raise BusUnavailable(self._problem or "RabbitMQ does not answer") from error

    def move(self, why: str) -> None:
        """This node is no good for something: connect to another one, where there is another one."""
        if len(self._nodes) > 1 and self._line is not None and not self._line.moving.done():
            self._line.moving.set_result(why)

    async def is_blocked(self) -> bool:
        """Whether the server has said that it reads no more from this connection for now: it is short of memory or disk."""
        return self._line is not None and await is_blocked(self._line.connection)

    async def _connect(self) -> _Line:
        connection, node = await connect(self._nodes, self._name)
        line = _Line(connection, node, loss_of(connection), asyncio.get_running_loop().create_future())
        try:
            if self._prepare is not None:
                await self._prepare(connection)
        except BaseException:
            self._nodes.leave(node)
            await close_quietly(connection)
            raise
        self._line = line
        self._problem = None
        self._arrived.set()
        log.info("connected to RabbitMQ", action="bus_connected", connection=self._name)
        return line

    async def _keep(self, line: _Line) -> None:
        while True:
            reason = await self._end_of(line)
            self._arrived.clear()
            self._line = None
            self._nodes.leave(line.node)
            self._problem = f"the connection to RabbitMQ was lost: {reason}"
            log.warning("lost the connection to RabbitMQ", action="bus_connection_lost", connection=self._name, reason=reason)
            line = await self._reconnect()

    async def _end_of(self, line: _Line) -> str:
        """Wait until the connection is no good any more; why. Then it is gone, or going."""
        silent = asyncio.create_task(silence_of(line.connection), name=f"silence of RabbitMQ towards {self._name}")
        ends: set[asyncio.Future[str]] = {line.lost, silent, line.moving}
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            silent.cancel()
        if line.lost not in done:
            goodbye = asyncio.create_task(close_quietly(line.connection), name=f"goodbye of {self._name}")
            self._goodbyes.add(goodbye)
            goodbye.add_done_callback(self._goodbyes.discard)
        return next(iter(done)).result()

    async def _reconnect(self) -> _Line:
        backoff = Backoff(most_seconds=RECONNECT_PAUSE_SECONDS)
        while True:
            await backoff.pause()
            try:
                return await self._connect()
            except BusUnavailable as error:
                self._problem = str(error)
                log.warning("no connection to RabbitMQ", action="bus_connect_failed", connection=self._name, error=str(error))

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            self._problem = f"the connection is no longer looked after: {error!r}"
            log.critical("a connection's keeper died", action="bus_keeper_died", connection=self._name, exc_info=error)
