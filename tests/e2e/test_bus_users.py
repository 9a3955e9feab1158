"""The two ways of use that need no HTTP: publishing commands, and subscribing to events, with a plain AMQP client."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import aio_pika
import aiohttp
import pytest

from tests.e2e.conftest import started
from tests.e2e.programs import write_programs
from tests.support.api import Api
from tests.support.broker import Broker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]


@pytest.fixture(scope="module")
def bus_url(broker: Broker) -> str:
    return broker.new_vhost_url()


@pytest.fixture(scope="module")
def hub(bus_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    hub = HubProcess(tmp_path_factory.mktemp("hub"), parts=("gateway", "runner"), bus_url=bus_url)
    write_programs(hub)
    yield from started(hub)


@pytest.fixture
async def channel(hub: HubProcess, bus_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    async with await aio_pika.connect(bus_url) as connection:
        yield await connection.channel(on_return_raises=True)


class Subscriber:
    """A user's own queue on ``hub.executions``."""

    def __init__(self, queue: aio_pika.abc.AbstractQueue) -> None:
        self._queue = queue

    @classmethod
    async def bound_to(cls, channel: aio_pika.abc.AbstractChannel, pattern: str) -> "Subscriber":
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("hub.executions", pattern)
        return cls(queue)

    async def until_ended(self, execution_id: str, *, settle_seconds: float = 1.0) -> list[tuple[str, str, dict[str, object]]]:
        """(routing key, event id, event) of one execution up to its ending, and whatever else still comes within a moment."""
        events = []
        async with self._queue.iterator() as messages:
            limit = 60.0
            while True:
                try:
                    message = await asyncio.wait_for(anext(messages), limit)
                except TimeoutError:
                    break
                await message.ack()
                event = json.loads(message.body)
                if event["subject"] == execution_id:
                    assert message.message_id == event["id"]
                    assert message.content_type == "application/cloudevents+json"
                    events.append((message.routing_key or "", event["id"], event))
                    if event["id"].endswith(":end"):
                        limit = settle_seconds
        return events


async def test_e6_a_subscriber_sees_queued_running_and_the_ending_once_each_in_order(
    hub: HubProcess, channel: aio_pika.abc.AbstractChannel
) -> None:
    subscriber = await Subscriber.bound_to(channel, "execution.#")
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        execution_id = await api.submit("fails", code=7)
        events = await subscriber.until_ended(execution_id)
    assert [key for key, _, _ in events] == ["execution.queued.fails", "execution.running.fails", "execution.failed.fails"]
    assert [event_id for _, event_id, _ in events] == [f"{execution_id}:1:0", f"{execution_id}:1:1", f"{execution_id}:end"]
    ended = events[-1][2]
    assert ended["specversion"] == "1.0"
    assert ended["type"] == "io.pyexecutorhub.execution.failed.v1"
    data = ended["data"]
    assert isinstance(data, dict)
    assert (data["exit_code"], data["stdout"]["content"]) == (7, "before the failure\n")


async def test_e5_a_bare_publish_runs_like_one_from_http(hub: HubProcess, channel: aio_pika.abc.AbstractChannel) -> None:
    subscriber = await Subscriber.bound_to(channel, "execution.*.hello")
    replies = await channel.declare_queue(f"reply.{uuid4()}", exclusive=True)
    execution_id = str(uuid4())
    commands = await channel.get_exchange("hub.commands")
    await commands.publish(
        aio_pika.Message(
            b'{"program_id": "hello"}', message_id=execution_id, reply_to=replies.name, correlation_id="mine", delivery_mode=2
        ),
        routing_key="execute.default",
    )
    events = await subscriber.until_ended(execution_id)
    assert [key for key, _, _ in events] == ["execution.queued.hello", "execution.running.hello", "execution.completed.hello"]
    reply = await replies.get(timeout=10)
    assert reply.correlation_id == "mine"
    assert json.loads(reply.body)["id"] == f"{execution_id}:end"
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        record = await api.finished(execution_id)
        assert record["status"] == "completed"
        assert f"hello from hello {execution_id}" in record["output"]


async def test_e5_a_bare_publish_of_an_unknown_program_ends_with_its_reason(
    hub: HubProcess, channel: aio_pika.abc.AbstractChannel
) -> None:
    subscriber = await Subscriber.bound_to(channel, "execution.#")
    execution_id = str(uuid4())
    commands = await channel.get_exchange("hub.commands")
    await commands.publish(
        aio_pika.Message(b'{"program_id": "nobody"}', message_id=execution_id), routing_key="execute.default"
    )
    events = await subscriber.until_ended(execution_id)
    assert [key for key, _, _ in events] == ["execution.queued.nobody", "execution.failed.nobody"]
    data = events[-1][2]["data"]
    assert isinstance(data, dict)
    assert data["reason"] == "unknown_program"


async def test_m28_what_can_not_be_understood_is_dead_lettered_with_its_reason_and_blocks_nobody(
    hub: HubProcess, channel: aio_pika.abc.AbstractChannel
) -> None:
    commands = await channel.get_exchange("hub.commands")
    await commands.publish(aio_pika.Message(b"not json", message_id=str(uuid4())), routing_key="execute.default")
    await commands.publish(aio_pika.Message(b'{"parameters": {}}', message_id=str(uuid4())), routing_key="execute.default")
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        letters = await eventually(
            lambda: api.get("/dead-letters"), lambda seen: len(seen) == 2, within_seconds=15, every_seconds=0.1
        )
        reasons = {letter["detail"].partition(":")[0] for letter in letters}
        assert reasons == {"the body is not JSON", "the body is not an ExecuteProgram"}
        assert (await api.run("hello"))["status"] == "completed"


async def test_bus3_a_pool_that_nobody_serves_is_refused_at_once(
    hub: HubProcess, channel: aio_pika.abc.AbstractChannel
) -> None:
    commands = await channel.get_exchange("hub.commands")
    with pytest.raises(aio_pika.exceptions.PublishError):
        await commands.publish(
            aio_pika.Message(b'{"program_id": "hello"}', message_id=str(uuid4())), routing_key="execute.nowhere"
        )
