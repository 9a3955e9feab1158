"""Calls of the AMQP library end in time, and with the bus's own errors."""

import asyncio

import pytest
from aio_pika.exceptions import AMQPConnectionError, ChannelInvalidStateError

from bus.errors import BusUnavailable
from bus.rabbitmq.calls import bounded


async def answer() -> int:
    return 7


async def fail(error: BaseException) -> None:
    raise error


async def test_an_answer_is_an_answer() -> None:
    assert await bounded(answer(), 1, "asking") == 7


async def test_what_takes_too_long_is_cancelled() -> None:
    waiting = asyncio.ensure_future(asyncio.Event().wait())
    with pytest.raises(BusUnavailable, match="asking took longer"):
        await bounded(waiting, 0.01, "asking")
    await asyncio.wait({waiting}, timeout=1)
    assert waiting.cancelled()


@pytest.mark.parametrize(
    "error", [AMQPConnectionError("gone"), ChannelInvalidStateError("closed"), OSError("refused"), Exception()]
)
async def test_a_failure_of_the_library_is_an_unavailable_bus(error: Exception) -> None:
    with pytest.raises(BusUnavailable, match="asking failed") as failed:
        await bounded(fail(error), 1, "asking")
    assert failed.value.__cause__ is error


async def test_a_mistake_of_ours_is_no_unavailable_bus() -> None:
    with pytest.raises(ValueError, match="ours"):
        await bounded(fail(ValueError("ours")), 1, "asking")


async def test_a_call_that_the_library_cancelled_is_no_cancellation_of_ours() -> None:
    with pytest.raises(BusUnavailable, match="connection was lost"):
        await bounded(fail(asyncio.CancelledError()), 1, "asking")


async def test_a_mistake_of_ours_stays_one() -> None:
    with pytest.raises(ZeroDivisionError):
        await bounded(fail(ZeroDivisionError()), 1, "asking")


async def test_cancelling_the_caller_cancels_the_call() -> None:
    waiting = asyncio.ensure_future(asyncio.Event().wait())
    caller = asyncio.create_task(bounded(waiting, 10, "asking"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller, waiting}, timeout=1)
    assert caller.cancelled()
    assert waiting.cancelled()
