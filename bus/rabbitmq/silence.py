"""Noticing a server that says nothing any more: frozen, or gone without a word."""

import asyncio
from contextlib import suppress

import aiormq.abc
from aio_pika.abc import AbstractConnection

from bus.rabbitmq.calls import is_client_error

#: Seconds between two questions to the server.
PING_SECONDS = 2.0
#: Seconds without an answer after which the server counts as gone. Heartbeats take longer, and in a cluster other nodes could
#: be used meanwhile.
SILENCE_SECONDS = 6
#: Seconds to find out whether the server has said that it reads no more from a publisher.
_LOOK_SECONDS = 0.05


async def silence_of(connection: AbstractConnection) -> str:
    """Wait until the server does not answer on this connection, for as long as that takes; what is wrong then.

    A server that is short of memory or disk does not answer who publishes, but says so first: it is not silent.
    """
    channel: aiormq.abc.AbstractChannel | None = None
    while True:
        await asyncio.sleep(PING_SECONDS)
        asking = asyncio.create_task(_ask(connection, channel), name="question to RabbitMQ whether it is there")
        try:
            # In short steps: a process that was stopped for long, or had no time, is to hear first what came meanwhile.
            for _ in range(SILENCE_SECONDS):
                if not asking.done():
                    await asyncio.wait({asking}, timeout=1.0)
            if not asking.done() and not await is_blocked(connection):
                return f"RabbitMQ has said nothing for {SILENCE_SECONDS} s"
            while not asking.done():
                await asyncio.wait({asking}, timeout=1.0)
                if not asking.done() and not await is_blocked(connection):
                    break  # it reads again, and is to be given its time to answer
        finally:
            if not asking.done():
                asking.cancel()
                await asyncio.wait({asking})
        channel = asking.result() if not asking.cancelled() else None


async def _ask(connection: AbstractConnection, channel: aiormq.abc.AbstractChannel | None) -> aiormq.abc.AbstractChannel | None:
    """Something that costs the server nothing; the channel to ask on the next time."""
    try:
        if channel is None or channel.is_closed:
            if connection.transport is None:
                return None
            channel = await connection.transport.connection.channel(publisher_confirms=False)
        await channel.basic_qos(prefetch_count=1)
    except Exception as error:
        if not is_client_error(error):
            raise
        return None  # a lost connection, which others notice too, is no silent one
    return channel


async def is_blocked(connection: AbstractConnection) -> bool:
    """Whether the server has said that it reads no more from this connection for now."""
    if connection.transport is None:
        return False
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_SECONDS):
            await connection.transport.connection.ready()
            return False
    return True
