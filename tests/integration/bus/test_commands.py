"""Accepting and taking commands, on both buses."""

import asyncio
from uuid import uuid4

import pytest

from bus.errors import BusClosed, UnknownPool
from bus.messages import Message, Source
from bus.ports import Bus
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import command, read, soon, stays_silent, take
from tests.support.wait import eventually


async def test_an_accepted_command_reaches_a_runner_as_it_was_published(bus: Bus) -> None:
    message = command(reply_to="reply.me", correlation_id="mine")
    await bus.commands.accept("default", message)
    delivery = await take(bus)
    assert delivery.message == message
    await delivery.done()


async def test_an_accepted_command_is_in_the_log_with_its_source_and_key(bus: Bus) -> None:
    message = command()
    await bus.commands.accept("default", message)
    (record,) = await read(bus, 1)
    assert (record.source, record.key, record.message) == (Source.COMMANDS, "execute.default", message)
    assert record.position.message_id == message.id


async def test_bus3_a_command_for_an_unknown_pool_is_refused_and_not_logged(bus: Bus) -> None:
    with pytest.raises(UnknownPool):
        await bus.commands.accept("nowhere", command())
    known = command()
    await bus.commands.accept("default", known)
    (record,) = await read(bus, 1)
    assert record.message == known


async def test_bus3_two_commands_of_one_id_for_an_unknown_pool_are_both_refused(bus: Bus) -> None:
    message = command()
    answers = await asyncio.gather(*(bus.commands.accept("nowhere", message) for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [UnknownPool] * 5


async def test_a_pool_that_is_opened_later_takes_commands(bus: Bus) -> None:
    await bus.open(frozenset({"default", "other"}))
    message = command()
    await bus.commands.accept("other", message)
    delivery = await soon(bus.commands.take("other", 1))
    assert delivery.message == message
    await stays_silent(bus.commands.take("default", 1))


async def test_a_pool_can_not_have_a_name_that_reaches_other_pools(bus: Bus) -> None:
    for name in ("#", "*", "a.b", ""):
        with pytest.raises(ValueError, match="can't name a pool"):
            await bus.open(frozenset({name}))


async def test_commands_are_taken_in_the_order_they_were_accepted(bus: Bus) -> None:
    messages = [command() for _ in range(10)]
    for message in messages:
        await bus.commands.accept("default", message)
    taken = []
    for _ in messages:
        delivery = await take(bus, 3)
        taken.append(delivery.message)
        await delivery.done()
    assert taken == messages


async def test_a_waiting_take_gets_a_command_that_comes_later(bus: Bus) -> None:
    waiting = asyncio.create_task(bus.commands.take("default", 2))
    await stays_silent(asyncio.shield(waiting))
    message = command()
    await bus.commands.accept("default", message)
    assert (await soon(waiting)).message == message


async def test_a_settled_command_never_comes_again(buses: Buses) -> None:
    bus = await buses.open()
    await bus.commands.accept("default", command())
    await (await take(bus)).done()
    bus = await buses.reopen(bus)
    await stays_silent(bus.commands.take("default", 1))


async def test_an_unsettled_command_comes_again_after_its_process_has_gone(buses: Buses) -> None:
    bus = await buses.open()
    message = command()
    await bus.commands.accept("default", message)
    await take(bus)
    bus = await buses.reopen(bus)
    assert (await take(bus)).message == message


async def test_a_command_that_was_given_back_comes_again(bus: Bus) -> None:
    message = command()
    await bus.commands.accept("default", message)
    await (await take(bus)).give_back()
    again = await take(bus)
    assert again.message == message
    await again.done()
    await stays_silent(bus.commands.take("default", 1))


async def test_a_rejected_command_does_not_come_again_and_the_next_one_does(bus: Bus) -> None:
    await bus.commands.accept("default", command())
    await (await take(bus)).reject("can't be understood")
    good = command()
    await bus.commands.accept("default", good)
    assert (await take(bus)).message == good


async def test_settling_twice_settles_once(bus: Bus) -> None:
    await bus.commands.accept("default", command())
    delivery = await take(bus)
    await delivery.done()
    await delivery.give_back()
    await delivery.reject("too late")
    await stays_silent(bus.commands.take("default", 1))


async def test_a_cancelled_take_loses_no_command(bus: Bus) -> None:
    accepted = set()
    taken = set()
    for _ in range(30):
        message = command()
        taking = asyncio.create_task(bus.commands.take("default", 1))
        await asyncio.gather(bus.commands.accept("default", message), asyncio.sleep(0))
        accepted.add(message.id)
        taking.cancel()
        await asyncio.wait({taking})
        if not taking.cancelled():
            taken.add(taking.result().message.id)
            await taking.result().done()
    while taken != accepted:
        delivery = await take(bus)
        assert delivery.message.id not in taken
        taken.add(delivery.message.id)
        await delivery.done()


async def test_a_take_that_is_cancelled_at_once_costs_no_delivery_in_hand(bus: Bus) -> None:
    for _ in range(2):
        await bus.commands.accept("default", command())
    first = await take(bus)
    for _ in range(5):
        taking = asyncio.create_task(bus.commands.take("default", 1))
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait({taking})
    await first.done()
    second = await take(bus)
    assert second.message.id != first.message.id
    await second.done()
    await stays_silent(bus.commands.take("default", 1))


async def test_after_stop_taking_others_get_what_waits(buses: Buses) -> None:
    bus = await buses.open()
    messages = [command() for _ in range(5)]
    for message in messages:
        await bus.commands.accept("default", message)
    in_hand = await take(bus, 5)
    await bus.commands.stop_taking()
    await bus.commands.stop_taking()
    other = await buses.open() if buses.most > 1 else bus
    others = set()
    for _ in messages[1:]:
        delivery = await take(other)
        others.add(delivery.message.id)
        await delivery.done()
    assert others == {message.id for message in messages} - {in_hand.message.id}
    # What was in hand is still ours to settle.
    await in_hand.done()
    await stays_silent(other.commands.take("default", 1))


async def test_what_waits_is_counted(bus: Bus) -> None:
    assert await bus.commands.waiting("default") == 0
    for _ in range(3):
        await bus.commands.accept("default", command())

    async def waiting() -> int:
        return await bus.commands.waiting("default")

    await eventually(waiting, lambda count: count == 3, within_seconds=20)
    with pytest.raises(UnknownPool):
        await bus.commands.waiting("nowhere")


async def test_taking_needs_a_free_slot(bus: Bus) -> None:
    with pytest.raises(ValueError, match="free slot"):
        await bus.commands.take("default", 0)


async def test_closing_the_bus_ends_a_waiting_take(bus: Bus) -> None:
    waiting = asyncio.create_task(bus.commands.take("default", 1))
    await stays_silent(asyncio.shield(waiting))
    await bus.close()
    with pytest.raises(BusClosed):
        await soon(waiting)
    with pytest.raises(BusClosed):
        await bus.commands.accept("default", command(str(uuid4())))
    assert not bus.state.connected


async def test_many_publishers_at_once_lose_nothing(bus: Bus) -> None:
    messages = [command() for _ in range(200)]
    await asyncio.gather(*(bus.commands.accept("default", message) for message in messages))
    assert bus.state.connected
    assert bus.state.problem is None
    records = await read(bus, 200)
    assert {record.message.id for record in records} == {message.id for message in messages}


async def test_m8_a_further_attempt_reaches_a_runner_and_the_log_as_the_holders_word(bus: Bus) -> None:
    message = command()
    await bus.commands.retry("default", message)
    delivery = await take(bus)
    assert (delivery.message, delivery.source) == (message, Source.REPORTS)
    # Given back and taken again, it is still the holder's.
    await delivery.give_back()
    delivery = await take(bus)
    assert (delivery.message, delivery.source) == (message, Source.REPORTS)
    await delivery.done()
    (record,) = await read(bus, 1)
    assert (record.source, record.key, record.message) == (Source.REPORTS, "retry.default", message)
    with pytest.raises(UnknownPool):
        await bus.commands.retry("nowhere", message)


async def test_m8_what_was_published_as_a_command_is_never_the_holders_word(bus: Bus) -> None:
    await bus.commands.accept("default", Message(id=str(uuid4()), body=b'{"program_id": "p", "attempt": 2}'))
    delivery = await take(bus)
    assert delivery.source is Source.COMMANDS
    await delivery.done()


async def test_m8_a_further_attempt_waits_over_a_restart_and_is_then_still_the_holders_word(buses: Buses) -> None:
    bus = await buses.open()
    message = command()
    await bus.commands.retry("default", message)
    bus = await buses.reopen(bus)
    delivery = await take(bus)
    assert (delivery.message, delivery.source) == (message, Source.REPORTS)
    await delivery.reject("not wanted")


async def test_what_is_not_settled_is_counted(bus: Bus) -> None:
    assert bus.commands.unsettled() == 0
    for number in range(5):
        await bus.commands.accept("default", command(str(number)))
    in_hand = [await take(bus, free_slots=2), await take(bus)]
    assert bus.commands.unsettled() == 2
    await in_hand[0].done()
    await in_hand[0].done()
    assert bus.commands.unsettled() == 1
    await in_hand[1].give_back()
    assert bus.commands.unsettled() == 0
    await (await take(bus)).reject("of no use")
    assert bus.commands.unsettled() == 0
