"""Closing a channel whose server is slow to answer."""

import asyncio
from typing import cast
from unittest import mock

import pytest
from aio_pika.abc import AbstractChannel

from bus.rabbitmq import connection
from bus.rabbitmq.connection import close_quietly
from tests.support.wait import eventually


async def test_a_channel_that_is_slow_to_close_is_left_to_do_it_and_not_closed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """To give its closing up would be a second close, for which RabbitMQ ends the whole connection."""
    monkeypatch.setattr(connection, "CLOSE_LIMIT_SECONDS", 0.05)
    answered = asyncio.Event()
    seen: list[str] = []

    async def close() -> None:
        seen.append("asked")
        try:
            await answered.wait()
        except asyncio.CancelledError:
            seen.append("given up")
            raise
        seen.append("closed")

    channel = mock.Mock(spec=AbstractChannel)
    channel.close = close
    await asyncio.wait_for(close_quietly(cast(AbstractChannel, channel)), 5)
    assert seen == ["asked"]
    answered.set()
    await eventually(lambda: asyncio.sleep(0, list(seen)), lambda words: words == ["asked", "closed"])


@pytest.mark.parametrize("error", [ConnectionError("gone"), RuntimeError("odd")])
async def test_however_a_channel_fails_to_close_nobody_is_disturbed(error: Exception) -> None:
    async def close() -> None:
        raise error

    channel = mock.Mock(spec=AbstractChannel)
    channel.close = close
    await close_quietly(cast(AbstractChannel, channel))
