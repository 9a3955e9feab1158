import asyncio

from runner.slots import Slots


async def test_exactly_as_many_slots_are_free_as_the_limit_says_r18() -> None:
    slots = Slots(lambda: 2)
    slots.take()
    assert slots.free == 1
    slots.take()
    assert slots.free == 0
    slots.give_back()
    assert slots.free == 1


async def test_a_wait_ends_when_a_slot_is_given_back() -> None:
    slots = Slots(lambda: 1)
    slots.take()
    waiting = asyncio.create_task(slots.wait_free(look_again_seconds=60))
    await asyncio.sleep(0)
    assert not waiting.done()
    slots.give_back()
    await asyncio.wait_for(waiting, 1)


async def test_a_raised_limit_is_noticed_and_a_lowered_one_takes_nothing_away() -> None:
    limit = 1
    slots = Slots(lambda: limit)
    slots.take()
    waiting = asyncio.create_task(slots.wait_free(look_again_seconds=0.01))
    limit = 2
    await asyncio.wait_for(waiting, 1)
    limit = 0
    assert slots.free == 0
    assert slots.used == 1
