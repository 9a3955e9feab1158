"""Asking runners, on both buses."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bus import topology
from bus.errors import BusClosed
from bus.limits import MOST_ANSWER_BYTES, MOST_QUESTION_BYTES
from bus.ports import AnswerHandler, Bus
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import soon, stays_silent
from tests.support.wait import eventually


async def echo(question: bytes) -> bytes:
    """Says it back."""
    return b"you asked: " + question


@asynccontextmanager
async def answering(bus: Bus, runner_id: str, handler: AnswerHandler = echo) -> AsyncIterator[None]:
    """That runner answers inside, and can be asked from the beginning."""
    ready = b"are you there?"

    async def handle(question: bytes) -> bytes:
        return b"yes" if question == ready else await handler(question)

    async def is_there() -> bool:
        return bool(await bus.questions.ask([runner_id], ready, limit_seconds=2.0))

    task = asyncio.create_task(bus.questions.answer(runner_id, handle))
    try:
        await eventually(is_there)
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_every_runner_gives_its_own_answer(buses: Buses) -> None:
    gateway, *others = [await buses.open() for _ in range(buses.most)]
    runners = others or [gateway, gateway]

    def says(number: int) -> AnswerHandler:
        async def handle(question: bytes) -> bytes:
            return f"{number}: {question.decode()}".encode()

        return handle

    async with answering(runners[0], "one", says(1)), answering(runners[1], "two.b-c_D", says(2)):
        answers = await gateway.questions.ask(["one", "two.b-c_D"], b"well?", limit_seconds=5.0)
    assert answers == {"one": b"1: well?", "two.b-c_D": b"2: well?"}


async def test_a_runner_that_is_not_there_is_not_waited_for(bus: Bus) -> None:
    async with answering(bus, "one"):
        started = time.monotonic()
        assert await bus.questions.ask(["one", "gone"], b"?", limit_seconds=10.0) == {"one": b"you asked: ?"}
        assert await bus.questions.ask(["gone"], b"?", limit_seconds=10.0) == {}
        assert await bus.questions.ask([], b"?", limit_seconds=10.0) == {}
        assert time.monotonic() - started < 5.0


async def test_a_runner_that_takes_too_long_is_missing_when_the_time_is_up(bus: Bus) -> None:
    cancelled = asyncio.Event()

    async def sleep(question: bytes) -> bytes:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return b"at last"

    async with answering(bus, "quick"), answering(bus, "slow", sleep):
        started = time.monotonic()
        assert await bus.questions.ask(["quick", "slow"], b"?", limit_seconds=0.5) == {"quick": b"you asked: ?"}
        assert 0.4 < time.monotonic() - started < 2.0
        # nor does the runner go on with what nobody waits for
        await soon(cancelled.wait())


async def test_a_runner_that_fails_or_says_too_much_is_missing_and_answers_the_next_question(bus: Bus) -> None:
    async def fail_or_flood(question: bytes) -> bytes:
        if question == b"fail":
            raise RuntimeError("no idea")
        return bytes(MOST_ANSWER_BYTES + (question == b"flood"))

    async with answering(bus, "one", fail_or_flood):
        assert await bus.questions.ask(["one"], b"fail", limit_seconds=0.5) == {}
        assert await bus.questions.ask(["one"], b"flood", limit_seconds=0.5) == {}
        assert await bus.questions.ask(["one"], b"much", limit_seconds=10.0) == {"one": bytes(MOST_ANSWER_BYTES)}


async def test_many_questions_at_the_same_time_get_each_its_own_answer(bus: Bus) -> None:
    async with answering(bus, "one"):
        questions = [f"question {number}".encode() for number in range(50)]
        answers = await asyncio.gather(*(bus.questions.ask(["one"], body, limit_seconds=10.0) for body in questions))
    assert answers == [{"one": b"you asked: " + body} for body in questions]


async def test_a_runner_answers_a_few_at_a_time_and_the_others_in_turn(bus: Bus) -> None:
    at_work = most = 0

    async def work(question: bytes) -> bytes:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.02)
        at_work -= 1
        return question

    async with answering(bus, "one", work):
        asking = [bus.questions.ask(["one"], b"%d" % number, limit_seconds=10.0) for number in range(20)]
        assert await asyncio.gather(*asking) == [{"one": b"%d" % number} for number in range(20)]
    assert 1 < most <= topology.QUESTIONS_AT_A_TIME


async def test_what_can_not_be_asked_is_refused(bus: Bus) -> None:
    with pytest.raises(ValueError, match="too large"):
        await bus.questions.ask(["one"], bytes(MOST_QUESTION_BYTES + 1), limit_seconds=1.0)
    for runner_id in ("", "#", "a b", "x" * 65):
        with pytest.raises(ValueError, match="can't name a runner"):
            await bus.questions.ask([runner_id], b"?", limit_seconds=1.0)
        with pytest.raises(ValueError, match="can't name a runner"):
            await bus.questions.answer(runner_id, echo)


async def test_a_runner_that_stops_answering_is_missing_at_once(bus: Bus) -> None:
    async with answering(bus, "one"):
        assert await bus.questions.ask(["one"], b"?", limit_seconds=5.0)
    started = time.monotonic()

    async def is_missing() -> bool:
        return await bus.questions.ask(["one"], b"?", limit_seconds=5.0) == {}

    await eventually(is_missing)
    assert time.monotonic() - started < 4.0


async def test_closing_the_bus_ends_answering(bus: Bus) -> None:
    answering = asyncio.ensure_future(bus.questions.answer("one", echo))
    await stays_silent(asyncio.shield(answering))
    await bus.close()
    with pytest.raises(BusClosed):
        await soon(answering)
