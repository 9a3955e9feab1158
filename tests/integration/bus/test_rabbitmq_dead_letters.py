"""What RabbitMQ alone can get wrong about dead letters."""

import asyncio
from typing import Any

import aio_pika
import pytest

from bus import topology
from bus.messages import DeadReason
from bus.rabbitmq import stream_reader
from tests.integration.bus.amqp import channel_to, publish
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import command, soon, take
from tests.integration.bus.test_dead_letters import bury, followed, until

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]


async def test_m28_what_the_broker_itself_gives_up_is_there_with_its_reason_and_its_pool(rabbits: Buses) -> None:
    bus = await rabbits.open()
    async with followed(bus), channel_to(rabbits.url) as channel:
        await bus.commands.accept("default", command("returned"))
        for _ in range(topology.DELIVERY_LIMIT + 1):
            await (await take(bus)).give_back()
        await bus.commands.stop_taking()
        late = aio_pika.Message(b"{}", message_id="late", expiration=0.1, headers={"x-hub-reason": "of a stranger"})
        await publish(channel, topology.COMMANDS, "execute.default", late)
        letters = await until(bus, lambda seen: len(seen) == 2)
        assert [(letter.message_id, letter.reason, letter.key) for letter in letters] == [
            ("late", DeadReason.EXPIRED, "execute.default"),
            ("returned", DeadReason.DELIVERY_LIMIT, "execute.default"),
        ]
        found = await soon(bus.dead_letters.find(letters[1].id))
        assert found == (letters[1], command("returned"))


async def test_m28_two_gateways_see_the_same_letters_at_once_and_what_one_removes_is_gone_on_the_other(rabbits: Buses) -> None:
    one, other = await rabbits.open(), await rabbits.open()
    async with followed(one), followed(other):
        await bury(one, *"abc")
        letters = await until(one, lambda seen: len(seen) == 3)
        assert await until(other, lambda seen: len(seen) == 3) == letters
        assert await asyncio.gather(*(bus.dead_letters.remove(letters[0].id) for bus in (one, other))) == [True, True]
        for bus in (one, other):
            assert await until(bus, lambda seen: len(seen) == 2) == letters[1:]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-first-death-reason": 7},
        {"x-first-death-reason": "expired", "x-first-death-queue": "hub.work.#"},
        {topology.REASON_HEADER: 7, topology.ORIGIN_HEADER: ["a"], topology.DEAD_AT_HEADER: "9" * 50},
    ],
)
async def test_m28_odd_headers_of_a_stranger_hide_no_letter(rabbits: Buses, headers: dict[str, Any]) -> None:
    bus = await rabbits.open()
    async with followed(bus), channel_to(rabbits.url) as channel:
        await channel.default_exchange.publish(aio_pika.Message(b"odd", headers=headers), topology.DEAD)
        await bury(bus, "after it")
        newer, odd = await until(bus, lambda seen: len(seen) == 2)
        assert (newer.message_id, newer.reason) == ("after it", DeadReason.MALFORMED)
        assert odd.preview == b"odd"
        assert await soon(bus.dead_letters.remove(odd.id))


async def test_m28_a_stream_that_was_replaced_is_read_anew(rabbits: Buses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reader, "FIRST_RECORD_SECONDS", 1.0)
    bus = await rabbits.open()
    async with followed(bus), channel_to(rabbits.url) as channel:
        await bury(bus, "old")
        await until(bus, lambda seen: len(seen) == 1)
        await channel.queue_delete(topology.DEAD)
        # As the next process that starts would.
        await bus.open(frozenset({"default", "other"}))
        await bury(bus, "new")
        (letter,) = await until(bus, lambda seen: [one.message_id for one in seen] == ["new"])
        assert await soon(bus.dead_letters.find(letter.id)) is not None
