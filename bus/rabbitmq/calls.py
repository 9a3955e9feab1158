"""Calls of the AMQP library: with a limit, and with the bus's own errors."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from aio_pika import Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from bus.errors import BusUnavailable

T = TypeVar("T")

#: Seconds that any one question to the broker may take.
CALL_LIMIT_SECONDS = 5.0


def is_client_error(error: BaseException) -> bool:
    """Whether it is one that the library raises when broker or connection fail.

    RuntimeError is among them: a closed channel raises one. What waits on a connection that ends without a reason gets a bare
    ``Exception`` (aiormq 7.2, ``FutureStore.reject_all``).
    """
    return isinstance(error, CONNECTION_EXCEPTIONS) or type(error) is Exception


async def publish_on(channel: AbstractChannel, exchange: str, key: str, message: Message, *, mandatory: bool) -> object:
    """Publish, and wait for the confirm, but not until the message has left: others may follow it at once, and all confirms
    be waited for together.
    """
    underlay = await channel.get_underlay_channel()
    return await underlay.basic_publish(  # type: ignore[call-arg]  # "wait" is missing in its abstract class
        message.body,
        exchange=exchange,
        routing_key=key,
        properties=message.properties,
        mandatory=mandatory,
        wait=False,
    )


async def bounded(call: Awaitable[T], limit_seconds: float, doing: str) -> T:
    """The result of ``call``; ``doing`` says what it does, for the error.

    The call runs in a task of its own, because the library ends calls of a lost connection by cancelling them: that must not
    look as if the caller had been cancelled.

    Raises:
        BusUnavailable: it failed, or took too long.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task}, timeout=limit_seconds)
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_forget)
    if not task.done():
        raise BusUnavailable(f"{doing} took longer than {limit_seconds:g} s")
    return result_of(task, doing)


def result_of(task: asyncio.Future[T], doing: str) -> T:
    """The result of a call that is done.

    Raises:
        BusUnavailable: it failed.
    """
    if task.cancelled():
        raise BusUnavailable(f"{doing} failed: the connection was lost")
    error = task.exception()
    if error is None:
        return task.result()
    if is_client_error(error):
        raise BusUnavailable(f"{doing} failed: {describe(error)}") from error
    raise error


def describe(error: BaseException | None) -> str:
    """An error of the library for people; it never holds the password."""
    if error is None or isinstance(error, asyncio.CancelledError):
        return "the connection was lost"
    return str(error) or type(error).__name__


def _forget(task: asyncio.Future[T]) -> None:
    # Nobody waits for it any more; reading its error keeps asyncio from reporting it as never seen.
    if not task.cancelled():
        task.exception()
