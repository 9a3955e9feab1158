"""Publishing where the server answers and does not confirm."""

import asyncio
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import DeliveryError
from pamqp.commands import Basic

from bus.errors import BusUnavailable
from bus.rabbitmq import publisher as module
from bus.rabbitmq.publisher import Publisher


class FakeChannel:
    """A channel that confirms, or never does, until it is closed; or one that refuses."""

    def __init__(self, *, confirms: bool, refuses: bool = False) -> None:
        self.confirms = confirms
        self.refuses = refuses
        self.is_closed = False
        self.published: list[str | None] = []
        self._waiting: list[asyncio.Future[None]] = []

    async def get_underlay_channel(self) -> "FakeChannel":
        return self

    async def basic_publish(self, _: bytes, *, properties: Basic.Properties, mandatory: bool, **_more: object) -> None:
        assert mandatory
        self.published.append(properties.message_id)
        if self.refuses:
            raise DeliveryError(None, Basic.Nack())
        if not self.confirms:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    async def close(self) -> None:
        self.is_closed = True
        for waiting in self._waiting:
            waiting.cancel()


class FakeLink:
    """A connection with these channels, one after the other."""

    problem = None

    def __init__(self, *channels: FakeChannel, blocked: bool = False) -> None:
        self.channels = list(channels)
        self.blocked = blocked

    async def channel(self, **_: object) -> FakeChannel:
        return self.channels.pop(0)

    async def is_blocked(self) -> bool:
        return self.blocked


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WEDGED_SECONDS", 0.05)
    monkeypatch.setattr(module, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(module, "REFUSED_SECONDS", 0.0)


def make(link: Any) -> tuple[Publisher, list[str]]:
    """A publisher, and what it says of its node."""
    said: list[str] = []
    return Publisher(link, said.append), said


async def publish(publisher: Publisher, message_id: str) -> None:
    await publisher.publish("exchange", "key", aio_pika.Message(b"", message_id=message_id), limit_seconds=0.1)


async def test_a_channel_that_does_not_confirm_is_given_up_and_the_same_message_goes_over_another() -> None:
    wedged, good = FakeChannel(confirms=False), FakeChannel(confirms=True)
    publisher, said = make(FakeLink(wedged, good))
    with pytest.raises(BusUnavailable) as refused:
        await publish(publisher, "a")
    assert refused.value.outcome_unknown
    await publish(publisher, "a")
    assert (wedged.published, good.published, wedged.is_closed) == (["a"], ["a"], True)
    assert publisher.problem is None
    assert said == []
    await publisher.close()


async def test_under_an_alarm_the_channel_is_kept_for_it_will_confirm() -> None:
    waiting = FakeChannel(confirms=False)
    publisher, said = make(FakeLink(waiting, blocked=True))
    for message_id in ("a", "b", "c", "d"):
        with pytest.raises(BusUnavailable):
            await publish(publisher, message_id)
    assert waiting.published == ["a", "b", "c", "d"]
    assert not waiting.is_closed
    assert publisher.problem is not None
    assert said == []
    await publisher.close()


async def test_a_node_that_confirms_nothing_on_whatever_channel_is_said_to_be_no_good() -> None:
    publisher, said = make(FakeLink(*(FakeChannel(confirms=False) for _ in range(9))))
    for _ in range(5):
        with pytest.raises(BusUnavailable):
            await publish(publisher, "a")
    assert said
    assert publisher.problem is not None
    await publisher.close()


async def test_a_channel_that_refuses_is_replaced_for_only_it_may_be_what_refuses() -> None:
    refusing, good = FakeChannel(confirms=True, refuses=True), FakeChannel(confirms=True)
    publisher, said = make(FakeLink(refusing, good))
    with pytest.raises(BusUnavailable) as refused:
        await publish(publisher, "a")
    assert refused.value.outcome_unknown
    await publish(publisher, "a")
    assert good.published == ["a"]
    assert said == []
    await publisher.close()
    assert refusing.is_closed


async def test_a_node_that_refuses_everything_for_long_is_said_to_be_no_good() -> None:
    publisher, said = make(FakeLink(*(FakeChannel(confirms=True, refuses=True) for _ in range(99))))
    for _ in range(6):
        with pytest.raises(BusUnavailable):
            await publish(publisher, "a")
        await asyncio.sleep(0.06)
    assert len(said) == 1
    await publisher.close()
