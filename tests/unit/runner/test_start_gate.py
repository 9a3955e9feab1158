import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from runner.start_gate import Priority, StartGate


class Starts:
    """What passes a gate: who is in, and who was let in, in order."""

    def __init__(self, gate: StartGate) -> None:
        self.gate = gate
        self.let_in: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, priority: Priority = Priority.JOB) -> asyncio.Task[None]:
        leave = self._leave[name] = asyncio.Event()

        async def pass_through() -> None:
            async with self.gate.start(priority):
                self.let_in.append(name)
                await leave.wait()

        task = self._tasks[name] = asyncio.create_task(pass_through())
        await settled()
        return task

    async def go(self, name: str) -> None:
        self._leave[name].set()
        await settled()

    async def cancel_all(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def settled() -> None:
    """Every task has got as far as it gets."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def through() -> AsyncIterator[Callable[[int], Starts]]:
    made: list[Starts] = []

    def make(places: int) -> Starts:
        made.append(Starts(StartGate(places)))
        return made[-1]

    yield make
    for starts in made:
        await starts.cancel_all()
        assert starts.gate.taken == 0
        assert not any(starts.gate.waiting(priority) for priority in Priority)


async def test_no_more_start_at_once_than_there_are_places(through: Callable[[int], Starts]) -> None:
    starts = through(2)
    for name in "abc":
        await starts.come(name)
    assert starts.let_in == ["a", "b"]
    assert (starts.gate.taken, starts.gate.waiting(Priority.JOB)) == (2, 1)

    await starts.go("b")

    assert starts.let_in == ["a", "b", "c"]


async def test_a_job_goes_before_refills_that_came_earlier(through: Callable[[int], Starts]) -> None:
    starts = through(1)
    await starts.come("first")
    await starts.come("refill 1", Priority.REFILL)
    await starts.come("refill 2", Priority.REFILL)
    await starts.come("job 1")
    await starts.come("job 2")

    for name in ("first", "job 1", "job 2", "refill 1"):
        await starts.go(name)

    assert starts.let_in == ["first", "job 1", "job 2", "refill 1", "refill 2"]


async def test_who_comes_while_others_wait_does_not_slip_in(through: Callable[[int], Starts]) -> None:
    starts = through(1)
    await starts.come("a")
    await starts.come("b")
    starts._leave["a"].set()  # the place is handed over in the step in which another one asks
    await starts.come("c")
    assert starts.let_in == ["a", "b"]


async def test_who_is_cancelled_while_waiting_takes_nobody_s_place(through: Callable[[int], Starts]) -> None:
    starts = through(1)
    await starts.come("a")
    gone = await starts.come("gone")
    await starts.come("b")

    gone.cancel()
    await settled()
    assert (gone.cancelled(), starts.gate.waiting(Priority.JOB)) == (True, 1)
    await starts.go("a")

    assert starts.let_in == ["a", "b"]


async def test_who_is_cancelled_as_its_turn_comes_passes_the_place_on(through: Callable[[int], Starts]) -> None:
    starts = through(1)
    async with starts.gate.start():
        gone = await starts.come("gone")
        await starts.come("b")
    # Its turn has come now, and it does not know yet.
    assert (starts.gate.taken, starts.gate.waiting(Priority.JOB)) == (1, 1)
    gone.cancel()
    await settled()

    assert gone.cancelled()
    assert starts.let_in == ["b"]


async def test_who_is_cancelled_just_before_a_place_is_free_does_not_get_it(through: Callable[[int], Starts]) -> None:
    starts = through(1)
    first = await starts.come("a")
    gone = await starts.come("gone")
    await starts.come("b")

    gone.cancel()  # it has not noticed when the place is handed on
    first.cancel()
    await settled()

    assert starts.let_in == ["a", "b"]


async def test_a_start_that_fails_gives_its_place_back() -> None:
    gate = StartGate(1)
    with pytest.raises(ValueError, match="no"):
        async with gate.start():
            raise ValueError("no")
    assert gate.taken == 0


async def test_there_are_two_places_for_each_core_of_the_engine_unless_the_number_was_given() -> None:
    gate = StartGate()
    assert gate.places == 2 * (os.cpu_count() or 1)
    gate.learn_cores(7)
    assert gate.places == 14
    gate.learn_cores(0)  # an engine that does not say
    assert gate.places == 14
    given = StartGate(3)
    given.learn_cores(7)
    assert given.places == 3


@pytest.mark.parametrize(("places", "refills"), [(1, 1), (2, 1), (3, 2), (4, 2), (16, 8)])
async def test_pools_take_no_more_than_half_of_the_places(places: int, refills: int) -> None:
    assert StartGate(places).refills == refills


async def test_more_cores_let_in_who_waits_and_fewer_send_nobody_away() -> None:
    starts = Starts(StartGate())
    starts.gate.learn_cores(1)
    for name in "abcde":
        await starts.come(name)
    assert starts.let_in == ["a", "b"]

    starts.gate.learn_cores(2)
    await settled()
    assert starts.let_in == ["a", "b", "c", "d"]

    starts.gate.learn_cores(1)
    await starts.go("a")
    await starts.go("b")
    assert starts.let_in == ["a", "b", "c", "d"]
    await starts.go("c")
    assert starts.let_in == ["a", "b", "c", "d", "e"]
    await starts.cancel_all()


@asynccontextmanager
async def counted(gate: StartGate, priority: Priority, seen: list[int]) -> AsyncIterator[None]:
    async with gate.start(priority):
        seen.append(gate.taken)
        yield


async def test_whatever_comes_and_is_cancelled_everybody_else_is_let_in() -> None:
    gate, seen, done = StartGate(3), list[int](), list[int]()

    async def one(number: int) -> None:
        async with counted(gate, Priority(number % 2), seen):
            for _ in range(number % 5):
                await asyncio.sleep(0)
        done.append(number)

    tasks = [asyncio.create_task(one(number)) for number in range(300)]
    for number in range(0, 300, 7):
        await asyncio.sleep(0)
        tasks[number].cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)

    assert max(seen) == 3
    assert {number for number in range(300) if number % 7} <= set(done)
    assert (gate.taken, gate.waiting(Priority.JOB), gate.waiting(Priority.REFILL)) == (0, 0, 0)
