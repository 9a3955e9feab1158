"""Declaring the topology. Declaring again what is there already changes nothing."""

from collections.abc import Iterable

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection

from bus import topology
from bus.rabbitmq.calls import bounded
from bus.rabbitmq.connection import close_quietly, open_channel

#: Seconds for all of it; the first time, on a slow disk, each queue takes its time.
DECLARE_LIMIT_SECONDS = 30.0


async def declare_all(connection: AbstractConnection, pools: Iterable[str]) -> None:
    """Declare everything, with the work queues of these pools.

    Raises:
        BusUnavailable: the broker did not take it, perhaps because something of the name is there with other arguments.
    """
    channel = await open_channel(connection)
    try:
        await bounded(_declare_all(channel, pools), DECLARE_LIMIT_SECONDS, "declaring exchanges and queues")
    finally:
        await close_quietly(channel)


async def declare_pool(channel: AbstractChannel, pool: str) -> None:
    """Declare what one pool adds.

    Raises:
        BusUnavailable: the broker did not take it.
    """
    await bounded(_declare_pool(channel, pool), DECLARE_LIMIT_SECONDS, f"declaring the work queue of pool {pool}")


async def declare_queue(channel: AbstractChannel, queue: topology.Queue) -> tuple[int, int]:
    """Declare one queue; how many messages are ready in it, and how many consumers it has."""
    declared = await channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments))
    return declared.declaration_result.message_count or 0, declared.declaration_result.consumer_count or 0


async def declare_exclusive(channel: AbstractChannel, queue: topology.Queue, exchange: str, key: str) -> None:
    """Declare a queue that this connection alone may read, and that is gone with it or its consumer; and bind it."""
    await channel.declare_queue(queue.name, exclusive=True, auto_delete=True, arguments=dict(queue.arguments))
    await _bind(channel, topology.Binding(exchange, key, queue.name))


async def _declare_all(channel: AbstractChannel, pools: Iterable[str]) -> None:
    for name in topology.EXCHANGES:
        await channel.declare_exchange(name, ExchangeType.TOPIC, durable=True)
    for queue in topology.QUEUES:
        await declare_queue(channel, queue)
    for binding in topology.BINDINGS:
        await _bind(channel, binding)
    for pool in pools:
        await _declare_pool(channel, pool)


async def _declare_pool(channel: AbstractChannel, pool: str) -> None:
    await declare_queue(channel, topology.work_queue(pool))
    for binding in topology.pool_bindings(pool):
        await _bind(channel, binding)


async def _bind(channel: AbstractChannel, binding: topology.Binding) -> None:
    underlay = await channel.get_underlay_channel()
    await underlay.queue_bind(binding.queue, binding.exchange, binding.key)
