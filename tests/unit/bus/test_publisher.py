"""Publishing where the server answers and does not confirm."""

import asyncio
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import DeliveryError, PublishError
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bus import topology
from bus.errors import BusUnavailable, Unroutable
from bus.rabbitmq import confirms, lane
from bus.rabbitmq.publisher import Publisher


class FakeChannel:
    """A channel that confirms, or never does, until it is closed; or one that refuses, or returns what is unroutable."""

    def __init__(self, *, confirms: bool = True, refuses: bool = False, returns: str | None = None) -> None:
        self.confirms = confirms
        self.refuses = refuses
        #: Id of a message that nobody takes.
        self.returns = returns
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
        if self.returns == properties.message_id:
            returned = Basic.Return(reply_code=312, reply_text="NO_ROUTE")
            raise PublishError(DeliveredMessage(returned, ContentHeader(), b"", channel=None), returned)  # type: ignore[arg-type]
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
    monkeypatch.setattr(lane, "WEDGED_SECONDS", 0.05)
    monkeypatch.setattr(confirms, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(lane, "REFUSED_SECONDS", 0.0)


def make(link: Any) -> tuple[Publisher, list[str]]:
    """A publisher, and what it says of its node."""
    said: list[str] = []
    return Publisher(link, said.append), said


async def publish(publisher: Publisher, message_id: str, *, key: str = "execution.running.p") -> None:
    await publisher.publish(topology.REPORTS, key, aio_pika.Message(b"", message_id=message_id), limit_seconds=0.1)


async def test_a_channel_that_does_not_confirm_is_given_up_and_the_same_message_goes_over_another() -> None:
    wedged, good = FakeChannel(confirms=False), FakeChannel()
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
    refusing, good = FakeChannel(refuses=True), FakeChannel()
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
    publisher, said = make(FakeLink(*(FakeChannel(refuses=True) for _ in range(99))))
    for _ in range(6):
        with pytest.raises(BusUnavailable):
            await publish(publisher, "a")
        await asyncio.sleep(0.06)
    assert len(said) == 1
    await publisher.close()


async def test_what_goes_to_another_stream_goes_over_another_channel() -> None:
    log, output = FakeChannel(), FakeChannel()
    publisher, _ = make(FakeLink(log, output))
    for message_id, key in (("a", "execution.running.p"), ("b", "output.p"), ("c", "retry.default"), ("d", "output.p")):
        await publish(publisher, message_id, key=key)
    await publisher.publish(topology.COMMANDS, "execute.default", aio_pika.Message(b"", message_id="e"), limit_seconds=0.1)
    assert (log.published, output.published) == (["a", "c", "e"], ["b", "d"])
    await publisher.close()


async def test_a_channel_that_has_counted_what_its_stream_never_saw_is_replaced() -> None:
    miscounted, good = FakeChannel(returns="a"), FakeChannel()
    publisher, _ = make(FakeLink(miscounted, good))
    with pytest.raises(Unroutable):
        await publish(publisher, "a")
    await publish(publisher, "b")
    assert (miscounted.published, good.published) == (["a"], ["b"])
    await publisher.close()
    assert miscounted.is_closed


async def test_a_channel_to_no_stream_is_kept_whatever_is_returned() -> None:
    questions = FakeChannel(returns="a")
    publisher, _ = make(FakeLink(questions))
    with pytest.raises(Unroutable):
        await publisher.publish(topology.QUESTIONS, "ask.r", aio_pika.Message(b"", message_id="a"), limit_seconds=0.1)
    await publisher.publish(topology.QUESTIONS, "ask.r", aio_pika.Message(b"", message_id="b"), limit_seconds=0.1)
    assert questions.published == ["a", "b"]
    await publisher.close()
