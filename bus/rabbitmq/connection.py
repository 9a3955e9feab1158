"""The connections of a process to RabbitMQ: plain ones, made again by ourselves when they are lost.

Not the library's robust connections: those bring back channels behind the back of whoever holds a delivery or a lock.
"""

import asyncio
from collections.abc import Awaitable, Callable

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from yarl import URL

from bus.backoff import Backoff
from bus.errors import BusClosed, BusUnavailable
from bus.rabbitmq.calls import CALL_LIMIT_SECONDS, bounded, describe
from bus.rabbitmq.leniency import tolerate_foreign_properties

log = structlog.get_logger()

#: Seconds between heartbeats; a half-open connection is noticed after three of them.
HEARTBEAT_SECONDS = 10
#: Seconds for one attempt to connect.
CONNECT_LIMIT_SECONDS = 5.0
#: Seconds for a connection to say goodbye.
CLOSE_LIMIT_SECONDS = 3.0
#: Longest pause between two attempts, in seconds: how long a broker that is back may wait for us.
RECONNECT_PAUSE_SECONDS = 2.0

Prepare = Callable[[AbstractConnection], Awaitable[None]]


async def connect(url: str, name: str) -> AbstractConnection:
    """One plain connection, known to the broker by ``name``.

    Raises:
        BusUnavailable: it can't be made now.
    """
    tolerate_foreign_properties()
    address = URL(url)
    address = address.with_query({"heartbeat": str(HEARTBEAT_SECONDS), "name": name, **address.query})
    return await bounded(aio_pika.connect(address), CONNECT_LIMIT_SECONDS, "connecting to RabbitMQ")


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


async def close_quietly(thing: AbstractConnection | AbstractChannel) -> None:
    """Close a connection or a channel, whatever state it is in."""
    try:
        await bounded(thing.close(), CLOSE_LIMIT_SECONDS, "closing")
    except BusUnavailable as error:
        log.debug("could not be closed in order", action="bus_close_failed", error=str(error))


class Link:
    """One connection that is made again whenever it is lost, from :meth:`open` to :meth:`close`."""

    def __init__(self, url: str, *, name: str, prepare: Prepare | None = None) -> None:
        """``prepare`` is done with each new connection before anybody gets it."""
        self._url = url
        self._name = name
        self._prepare = prepare
        self._connection: AbstractConnection | None = None
        self._arrived = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
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
            lost = await self._connect()
            self._keeper = asyncio.create_task(self._keep(lost), name=f"RabbitMQ connection {self._name}")
            self._keeper.add_done_callback(self._kept)

    async def prepare_again(self) -> None:
        """Prepare the connection that is there once more.

        Raises:
            BusUnavailable: there is none, or it failed.
        """
        if self._connection is None:
            raise BusUnavailable(self._problem or "not connected to RabbitMQ")
        if self._prepare is not None:
            await self._prepare(self._connection)

    async def close(self) -> None:
        """Disconnect; whoever waits for the connection gets BusClosed. Safe to repeat."""
        self._closed = True
        self._arrived.set()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            self._keeper = None
        connection, self._connection = self._connection, None
        if connection is not None:
            self._problem = "closed"
            await close_quietly(connection)

    async def channel(self, *, within_seconds: float = CALL_LIMIT_SECONDS, on_return_raises: bool = False) -> AbstractChannel:
        """A new channel, on the next connection where there is none now.

        Raises:
            BusUnavailable: there was no connection in time, or it failed.
            BusClosed: the bus was closed.
        """
        try:
            async with asyncio.timeout(within_seconds):
                await self._arrived.wait()
                if self._closed or self._connection is None:
                    raise BusClosed("the bus is closed")
                return await open_channel(self._connection, on_return_raises=on_return_raises)
        except TimeoutError as error:
            raise BusUnavailable(self._problem or "RabbitMQ does not answer") from error

    async def _connect(self) -> asyncio.Future[str]:
        connection = await connect(self._url, self._name)
        lost = loss_of(connection)
        try:
            if self._prepare is not None:
                await self._prepare(connection)
        except BaseException:
            await close_quietly(connection)
            raise
        self._connection = connection
        self._problem = None
        self._arrived.set()
        log.info("connected to RabbitMQ", action="bus_connected", connection=self._name)
        return lost

    async def _keep(self, lost: asyncio.Future[str]) -> None:
        while True:
            reason = await lost
            self._arrived.clear()
            self._connection = None
            self._problem = f"the connection to RabbitMQ was lost: {reason}"
            log.warning("lost the connection to RabbitMQ", action="bus_connection_lost", connection=self._name, reason=reason)
            lost = await self._reconnect()

    async def _reconnect(self) -> asyncio.Future[str]:
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
