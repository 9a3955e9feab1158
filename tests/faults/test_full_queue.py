"""A work queue that takes no more: what a nack means."""

import asyncio

import pytest

from bus.errors import BusUnavailable
from tests.integration.bus.conftest import Buses, rabbits
from tests.integration.bus.messages import command, read, take
from tests.support.broker import OwnBroker

__all__ = ["rabbits"]

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]


async def test_bus4_a_full_work_queue_nacks_what_the_log_has_taken_and_that_is_told_as_unknown_and_never_as_refused(
    own_broker: OwnBroker, rabbits: Buses
) -> None:
    bus = await rabbits.open()
    vhost = rabbits.url.rpartition("/")[2]
    limit = ("set_policy", "-p", vhost, "short", r"^hub\.work\.", '{"max-length": 4}', "--apply-to", "queues")
    await asyncio.to_thread(own_broker.control, *limit)
    sent = [command() for _ in range(20)]
    unknown: set[str | None] = set()
    for message in sent:
        try:
            await bus.commands.accept("default", message)
        except BusUnavailable as error:
            assert error.outcome_unknown
            unknown.add(message.id)
    assert unknown
    # The log has all of them: whoever said "refused" would have lied about those that a reader of the log sees as queued.
    assert [record.message.id for record in await read(bus, len(sent))] == [message.id for message in sent]
    # Once there is room, the same ids may be published again, and are the same executions.
    await asyncio.to_thread(own_broker.control, "clear_policy", "-p", vhost, "short")
    for message in sent:
        if message.id in unknown:
            await bus.commands.accept("default", message)
    taken: set[str | None] = set()
    while len(taken) < len(sent):
        delivery = await take(bus, 1)
        taken.add(delivery.message.id)
        await delivery.done()
    assert taken == {message.id for message in sent}
