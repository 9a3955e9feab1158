"""Cleanups: written, obeyed, told."""

import asyncio

import pytest

from bus.errors import BusUnavailable
from bus.messages import Message, StreamName
from hub.cleanups import Cleanups
from schemas.cleanup_events import parse_cleanup
from schemas.executions import CleanedUp
from tests.support.hub_bus import FakeStreams


class Recording(FakeStreams):
    """Streams that keep what is appended."""

    def __init__(self) -> None:
        super().__init__()
        self.appended: list[tuple[StreamName, str, Message]] = []
        self.written = asyncio.Event()

    async def append(self, stream: StreamName, key: str, message: Message) -> None:
        self.appended.append((stream, key, message))
        self.written.set()


async def test_e12_who_asks_for_a_cleanup_hears_what_it_did_here() -> None:
    streams = Recording()
    cleanups = Cleanups(streams)
    asking = asyncio.create_task(cleanups.clean_up(requested_by="ada"))
    async with asyncio.timeout(5):
        await streams.written.wait()
    ((stream, key, message),) = streams.appended
    event = parse_cleanup(message.body)

    cleanups.applied({"another": CleanedUp(removed=9, remaining=9)})
    assert not asking.done()
    cleanups.applied({event.id: CleanedUp(removed=3, remaining=1)})
    # A repetition by the bus did nothing, and says nothing.
    cleanups.applied({event.id: CleanedUp(removed=0, remaining=1)})

    assert await asking == CleanedUp(removed=3, remaining=1)
    assert (stream, key, message.id) == (StreamName.LOG, "execution.cleanup.hub", event.id)
    assert event.data.requested_by == "ada"


async def test_a_cleanup_that_the_view_does_not_come_to_is_waited_for_only_so_long() -> None:
    with pytest.raises(TimeoutError):
        await Cleanups(Recording(), limit_seconds=0.05).clean_up(requested_by="ada")


class Unconfirming(Recording):
    """Streams that take what is appended, and never say so."""

    async def append(self, stream: StreamName, key: str, message: Message) -> None:
        await super().append(stream, key, message)
        await asyncio.Event().wait()


async def test_a_cleanup_that_is_not_confirmed_in_time_is_no_accepted_one() -> None:
    with pytest.raises(BusUnavailable) as unconfirmed:
        await Cleanups(Unconfirming(), limit_seconds=0.05).clean_up(requested_by="ada")
    assert unconfirmed.value.outcome_unknown
