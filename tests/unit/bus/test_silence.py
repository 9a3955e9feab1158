"""Noticing a server that says nothing any more."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aiormq
import pytest

from bus.rabbitmq import silence
from bus.rabbitmq.silence import silence_of
from tests.support.wait import eventually


class Server:
    """The far end of a connection."""

    def __init__(self) -> None:
        self.answering = asyncio.Event()
        self.answering.set()
        self.reading = asyncio.Event()
        self.reading.set()
        self.lost = False
        self.answers = 0
        self.is_closed = False
        self.connection: Any = SimpleNamespace(transport=SimpleNamespace(connection=self))

    async def channel(self, *, publisher_confirms: bool) -> "Server":
        assert not publisher_confirms
        return self

    async def basic_qos(self, *, prefetch_count: int) -> None:
        assert prefetch_count == 1
        if self.lost:
            raise aiormq.exceptions.ChannelInvalidStateError
        await self.answering.wait()
        self.answers += 1

    async def ready(self) -> None:
        await self.reading.wait()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(silence, "PING_SECONDS", 0.01)
    monkeypatch.setattr(silence, "SILENCE_SECONDS", 1)
    return Server()


async def test_a_server_that_stops_answering_is_noticed(server: Server) -> None:
    noticing = asyncio.create_task(silence_of(server.connection))
    await eventually(lambda: answers(server), lambda number: number > 3)
    assert not noticing.done()
    server.answering.clear()
    assert "has said nothing for 1 s" in await asyncio.wait_for(noticing, 5)


async def test_one_that_says_it_reads_no_more_is_not_silent_and_is_asked_again_later(server: Server) -> None:
    server.answering.clear()
    server.reading.clear()
    noticing = asyncio.create_task(silence_of(server.connection))
    _, pending = await asyncio.wait({noticing}, timeout=2.5)
    assert pending
    server.reading.set()
    server.answering.set()
    await eventually(lambda: answers(server), lambda number: number > 3)
    server.answering.clear()
    assert await asyncio.wait_for(noticing, 5)


async def test_a_lost_connection_is_for_others_to_notice(server: Server) -> None:
    server.lost = True
    noticing = asyncio.create_task(silence_of(server.connection))
    _, pending = await asyncio.wait({noticing}, timeout=0.2)
    assert pending
    noticing.cancel()


async def answers(server: Server) -> int:
    return server.answers
