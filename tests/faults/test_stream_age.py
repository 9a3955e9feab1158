"""What the declared arguments of streams really do: records that are too old go."""

import asyncio
import time

import aio_pika
import pytest

from bus import topology
from bus.rabbitmq.envelope import OFFSET_HEADER
from tests.integration.bus.amqp import channel_to

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(120)]

MEGABYTE = 1_000_000
#: Enough for some segments of the smallest of our streams, and for less than one of RabbitMQ's own size.
NUMBER = 60


async def first_offset_after(url: str, name: str, arguments: dict[str, str | int | bool]) -> int:
    """Declare a stream, write until its first records are too old, and a little more; the first that is still there."""
    async with channel_to(url) as channel:
        stream = await channel.declare_queue(name, durable=True, arguments=dict(arguments))
        for number in range(NUMBER):
            await channel.default_exchange.publish(aio_pika.Message(b"x" * MEGABYTE), name)
            if number == NUMBER // 2:
                await asyncio.sleep(2)
        await channel.set_qos(prefetch_count=1)
        async with stream.iterator(timeout=15, arguments={"x-stream-offset": "first"}) as records:
            async for record in records:
                offset = record.headers[OFFSET_HEADER]
                assert isinstance(offset, int)
                return offset
    raise AssertionError("the stream is empty")


async def test_bus8_the_age_limit_with_our_segments_removes_old_records_and_with_rabbitmqs_own_none(amqp_url: str) -> None:
    ours = dict(topology.QUEUES_BY_NAME[topology.LEASES].arguments) | {"x-max-age": "1s"}
    assert ours["x-stream-max-segment-size-bytes"] == 16 * MEGABYTE
    began_at = time.monotonic()
    assert await first_offset_after(amqp_url, "ours", ours) > 0
    theirs = {name: value for name, value in ours.items() if name != "x-stream-max-segment-size-bytes"}
    assert await first_offset_after(amqp_url, "theirs", theirs) == 0
    assert time.monotonic() - began_at < 60
