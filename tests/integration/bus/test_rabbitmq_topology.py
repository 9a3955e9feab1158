"""The topology as the broker has it."""

import pytest
from aio_pika import ExchangeType
from aio_pika.exceptions import ChannelPreconditionFailed

from bus import topology
from bus.errors import BusUnavailable
from tests.integration.bus.amqp import channel_to
from tests.integration.bus.conftest import Buses

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]


async def test_everything_is_declared_with_its_final_arguments(rabbits: Buses) -> None:
    await rabbits.open(pools=frozenset({"default", "other"}))
    async with channel_to(rabbits.url) as channel:
        for name in topology.EXCHANGES:
            await channel.declare_exchange(name, ExchangeType.TOPIC, durable=True)
        for queue in (*topology.QUEUES, topology.work_queue("default"), topology.work_queue("other")):
            await channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments))
        with pytest.raises(ChannelPreconditionFailed):
            await channel.declare_queue(topology.LOG, durable=True, arguments={"x-queue-type": "stream"})


async def test_a_queue_that_is_there_with_other_arguments_is_told(rabbits: Buses) -> None:
    async with channel_to(rabbits.url) as channel:
        await channel.declare_queue(topology.DEAD, durable=True)
    bus = rabbits.make()
    with pytest.raises(BusUnavailable, match=r"hub\.dead"):
        await bus.open(frozenset({"default"}))
    async with channel_to(rabbits.url) as channel:
        await channel.queue_delete(topology.DEAD)
    await bus.open(frozenset({"default"}))
    assert bus.state.problem is None


async def test_no_subscriber_queue_is_fed_by_commands_or_reports() -> None:
    fed = {binding.exchange for binding in (*topology.BINDINGS, *topology.pool_bindings("default"))}
    assert topology.EXECUTIONS not in fed
    assert {binding.queue for binding in topology.pool_bindings("x")} == {"hub.work.x", topology.LOG}
