"""The announcer's lock: one message, the checkpoint, in a queue that gives its messages to one consumer at a time."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import structlog
from aio_pika import Message as AmqpMessage
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import DeliveryError
from aiormq.abc import DeliveredMessage

from bus import topology
from bus.errors import BusClosed, BusError, BusUnavailable
from bus.messages import Announcement, Message
from bus.rabbitmq.calls import CALL_LIMIT_SECONDS, bounded, publish_on, result_of
from bus.rabbitmq.connection import close_quietly, connect, loss_of, open_channel
from bus.rabbitmq.consumer import Consumer, ack
from bus.rabbitmq.declaration import declare_queue
from bus.rabbitmq.envelope import to_amqp
from bus.rabbitmq.nodes import Nodes
from bus.rabbitmq.silence import silence_of
from schemas.failpoints import failpoint

log = structlog.get_logger()

#: Seconds between two renewals of the checkpoint: a message that is held for too long costs the channel. By default that is
#: half an hour, but servers may be set to less.
RENEW_SECONDS = 20.0
#: Seconds after which waiting for the lock begins anew: a checkpoint that was lost on its way to us, as its queue went to
#: another node of a cluster, counts as ours until then.
WAIT_SECONDS = 45.0
#: Seconds for an announcement to be confirmed.
ANNOUNCE_LIMIT_SECONDS = 10.0
#: Pauses, in seconds, between the tries of an announcement that was refused, each on another channel: a queue that went to
#: another node of a cluster may refuse all that comes over a channel that wrote to it before. A full queue refuses on any.
REFUSED_PAUSES = (0.1, 0.5, 1.0, 2.0)
#: Seconds for which a queue that has refused all of them is passed over at once, so that it does not hold up the others.
PASS_OVER_SECONDS = 60.0
#: More checkpoints than there ever are at once.
_PREFETCH = 100


class _Refused(BusUnavailable):
    """A queue did not take a message (a nack)."""


class StillWaiting(BusUnavailable):
    """Somebody else has the lock, or nobody was given it: wait anew."""


class RabbitHolder:
    """Holds the lock on a plain connection of its own, and publishes on that very connection.

    So whoever was frozen and lost the lock can't publish when it wakes: what it would publish on is gone, and is never made
    again.
    """

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel, closing: asyncio.Event) -> None:
        self._connection = connection
        #: What the lock is held on, and what is published on: the same, until something is refused there.
        self._channel = channel
        self._publishing = channel
        #: Monotonic time of when some queue was found to refuse whatever comes over whatever channel.
        self._refuses_at = float("-inf")
        self._closing = closing
        #: Is done, with the reason, once the lock is lost.
        self._lost = loss_of(connection)
        self._given: list[DeliveredMessage] = []
        self._news = asyncio.Event()
        self._held: DeliveredMessage | None = None
        self._position: int | None = None
        self._advancing = asyncio.Lock()
        #: Message id of the checkpoint that :meth:`advance` published, and where it arrives.
        self._expected: tuple[str, asyncio.Future[DeliveredMessage]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def wait(cls, nodes: Nodes, name: str, closing: asyncio.Event) -> "RabbitHolder":
        """Connect, and wait until the lock is ours.

        Raises:
            StillWaiting: it was not within :data:`WAIT_SECONDS`.
            BusUnavailable: the connection was lost meanwhile.
            BusClosed: ``closing`` was set meanwhile.
        """
        connection, node = await connect(nodes, name)
        holder: RabbitHolder | None = None
        try:
            holder = cls(connection, await open_channel(connection), closing)
            holder._watch()
            await holder._enter()
        except BaseException as error:
            if isinstance(error, BusUnavailable) and not isinstance(error, StillWaiting):
                nodes.leave(node)
            await (holder.release() if holder is not None else close_quietly(connection))
            raise
        return holder

    @property
    def position(self) -> int | None:
        """Offset of the last record whose transition was announced."""
        return self._position

    async def announce(self, key: str, message: Message) -> None:
        """Publish to every subscriber that bound the key."""
        await self.announce_all([Announcement(key=key, message=message)])

    async def announce_all(self, announcements: Sequence[Announcement]) -> None:
        """Publish each to every subscriber that bound its key."""
        messages = [(each.key, to_amqp(each.message)) for each in announcements]
        outcomes = await self._publish_all(topology.EXECUTIONS, messages)
        for (key, message), refused in zip(messages, outcomes, strict=True):
            if refused is not None:
                await self._announce_again(key, message)

    async def _announce_again(self, key: str, message: AmqpMessage) -> None:
        """What was refused, over other channels. Nothing else is under way on the one that is left."""
        for pause in REFUSED_PAUSES:
            if time.monotonic() - self._refuses_at < PASS_OVER_SECONDS:
                break
            await self._take_another_channel()
            await asyncio.sleep(pause)
            with suppress(_Refused):
                await self._publish(topology.EXECUTIONS, key, message)
                return
        else:
            self._refuses_at = time.monotonic()
        # A subscriber's own queue is full and set to refuse. The others have it; waiting for this one would stop them all.
        log.warning("a subscriber's queue refused", action="announcement_refused", key=key)

    async def reply(self, queue: str, message: Message) -> None:
        """Send to one queue by name."""
        try:
            await self._publish("", queue, to_amqp(message))
        except _Refused as error:
            log.warning("a reply was refused", action="reply_refused", queue=queue, error=str(error))

    async def advance(self, position: int) -> None:
        """Publish the new checkpoint, and let go of the old one only when the new one is in our hands."""
        await self._replace_checkpoint(position)

    async def renew(self) -> None:
        """Replace the checkpoint by a fresh one now and then, until the lock is lost."""
        while not self._lost.done():
            await asyncio.wait({self._lost}, timeout=RENEW_SECONDS)
            try:
                await self._replace_checkpoint(None)
            except BusError as error:
                self._lose(str(error))

    async def release(self) -> None:
        """Let go of the lock."""
        self._lose("it was released")
        for task in self._tasks:
            task.cancel()
        await close_quietly(self._connection)

    def _watch(self) -> None:
        """Lose the lock where the server says nothing any more: whoever waits for it may not wait for a dead one."""

        async def watch() -> None:
            self._lose(await silence_of(self._connection))

        task = asyncio.create_task(watch(), name="silence of RabbitMQ towards the announcer")
        self._tasks.add(task)
        task.add_done_callback(self._dropped)

    async def _enter(self) -> None:
        ready, consumers = await bounded(
            declare_queue(self._channel, topology.QUEUES_BY_NAME[topology.ANNOUNCER]), CALL_LIMIT_SECONDS, "declaring the lock"
        )
        if ready == 0 and consumers == 0:
            # The very first. Two processes may both see that, and both publish; who gets the lock gets both, and drops one.
            await self._publish("", topology.ANNOUNCER, _checkpoint(None))
            failpoint("rabbitmq.checkpoint_made")
        await Consumer.start(
            self._channel,
            topology.ANNOUNCER,
            prefetch=_PREFETCH,
            on_message=self._receive,
            on_lost=lambda: self._lose("its consumer was cancelled"),
        )
        await self._first_given()
        # A predecessor may have died between publishing a checkpoint and letting go of the one before: all that is ready is
        # ours.
        try:
            async with asyncio.timeout(CALL_LIMIT_SECONDS):
                while True:
                    self._news.clear()
                    if await self._ready() == 0:
                        break
                    await self._news.wait()
        except TimeoutError as error:
            raise BusUnavailable("checkpoints are ready and are not delivered") from error
        largest = max(self._given, key=lambda given: _rank(_position_in(given)))
        self._position = _position_in(largest)
        self._held = largest
        for given in self._given:
            if given is not largest:
                await ack(given)

    async def _first_given(self) -> None:
        closing = asyncio.ensure_future(self._closing.wait())
        given = asyncio.ensure_future(self._news.wait())
        ends: set[asyncio.Future[Any]] = {closing, given, self._lost}
        try:
            done, _ = await asyncio.wait(ends, timeout=WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
            given.cancel()
        self._check()
        if not done:
            raise StillWaiting("the announcer's lock is not ours yet")

    async def _ready(self) -> int:
        self._check()
        ready, _ = await bounded(
            declare_queue(self._channel, topology.QUEUES_BY_NAME[topology.ANNOUNCER]), CALL_LIMIT_SECONDS, "reading the lock"
        )
        return ready

    def _receive(self, message: DeliveredMessage) -> None:
        message_id = message.header.properties.message_id
        if self._held is None:
            self._given.append(message)
            self._news.set()
        elif self._expected is not None and self._expected[0] == message_id:
            if not self._expected[1].done():
                self._expected[1].set_result(message)
        elif _rank(_position_in(message)) <= _rank(self._position):
            # Of a process that saw the queue empty when we did.
            task = asyncio.create_task(ack(message), name="drop a checkpoint")
            self._tasks.add(task)
            task.add_done_callback(self._dropped)
        else:
            self._lose("somebody else wrote a later checkpoint")

    async def _replace_checkpoint(self, position: int | None) -> None:
        async with self._advancing:
            self._check()
            position = self._position if position is None else position
            message = _checkpoint(position)
            arrived: asyncio.Future[DeliveredMessage] = asyncio.get_running_loop().create_future()
            self._expected = (message.message_id or "", arrived)
            try:
                await self._publish("", topology.ANNOUNCER, message)
                failpoint("rabbitmq.checkpoint_published")
                new = await bounded(arrived, CALL_LIMIT_SECONDS, "receiving the checkpoint")
                old, self._held = self._held, new
                self._position = position
                if old is not None:
                    await ack(old)
                    failpoint("rabbitmq.checkpoint_let_go")
            except BaseException as error:
                # Which of the two is held is not known: only who takes the lock anew can tell.
                self._lose(f"the checkpoint was not replaced: {error!r}")
                raise
            finally:
                self._expected = None

    async def _publish(self, exchange: str, key: str, message: AmqpMessage) -> None:
        (refused,) = await self._publish_all(exchange, [(key, message)])
        if refused is not None:
            raise refused

    async def _publish_all(self, exchange: str, messages: Sequence[tuple[str, AmqpMessage]]) -> list[_Refused | None]:
        """Publish in this order, and wait for all confirms together; of each whether it was refused."""
        self._check()
        publishing = [
            asyncio.ensure_future(publish_on(self._publishing, exchange, key, message, mandatory=False))
            for key, message in messages
        ]
        try:
            await bounded(asyncio.gather(*publishing, return_exceptions=True), ANNOUNCE_LIMIT_SECONDS, "announcing")
            return [_refusal_of(each) for each in publishing]
        except BusUnavailable as error:
            # They may have been published, or not: whatever came after them would be out of order.
            self._lose(str(error))
            raise BusUnavailable(str(error), outcome_unknown=True) from error

    async def _take_another_channel(self) -> None:
        """Publish on another channel from now on, of the connection that holds the lock."""
        left, self._publishing = self._publishing, await open_channel(self._connection)
        if left is not self._channel:
            await close_quietly(left)

    def _check(self) -> None:
        if self._closing.is_set():
            raise BusClosed("the bus is closed")
        if self._lost.done():
            raise BusUnavailable(f"the announcer's lock is lost: {self._lost.result()}")

    def _lose(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)

    def _dropped(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._lose(str(error))


def _refusal_of(published: asyncio.Future[object]) -> _Refused | None:
    """The refusal of one message; ``None`` where it was confirmed.

    Raises:
        BusUnavailable: it was neither.
    """
    try:
        result_of(published, "announcing")
    except BusUnavailable as error:
        if isinstance(error.__cause__, DeliveryError):
            return _Refused(str(error))
        raise
    return None


def _checkpoint(position: int | None) -> AmqpMessage:
    return to_amqp(Message(id=str(uuid4()), body=json.dumps({"position": position}).encode()))


def _position_in(message: DeliveredMessage) -> int | None:
    try:
        position = json.loads(message.body)["position"]
    except (ValueError, TypeError, KeyError):
        return None
    return position if isinstance(position, int) else None


def _rank(position: int | None) -> int:
    return -1 if position is None else position
