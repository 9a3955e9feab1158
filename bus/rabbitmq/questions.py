"""Questions on RabbitMQ: an exclusive queue for each runner, and one for the answers to each question."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from uuid import uuid4

import aio_pika
import structlog
from aiormq.abc import DeliveredMessage

from bus import topology
from bus.errors import BusUnavailable, Unroutable
from bus.limits import MOST_ANSWER_BYTES, MOST_ANSWERS_BYTES, MOST_QUESTION_BYTES
from bus.ports import AnswerHandler
from bus.rabbitmq.calls import CALL_LIMIT_SECONDS, bounded
from bus.rabbitmq.connection import Link, close_quietly
from bus.rabbitmq.consumer import Consumer
from bus.rabbitmq.declaration import declare_exclusive
from bus.rabbitmq.publisher import Publisher
from bus.rabbitmq.respondent import Respondent

log = structlog.get_logger()


class RabbitQuestions:
    """Keeps the promises of :class:`bus.ports.Questions`."""

    def __init__(self, consuming: Link, publisher: Publisher) -> None:
        self._consuming = consuming
        self._publisher = publisher

    async def answer(self, runner_id: str, handler: AnswerHandler) -> None:
        """Answer the questions to this runner, for ever."""
        await Respondent(self._consuming, self._publisher, runner_id, handler).run()

    async def ask(self, runner_ids: Collection[str], question: bytes, *, limit_seconds: float) -> Mapping[str, bytes]:
        """Ask these runners at the same time."""
        if len(question) > MOST_QUESTION_BYTES:
            raise ValueError(f"a question of {len(question)} bytes is too large")
        keys = {runner_id: topology.question_key(runner_id) for runner_id in runner_ids}
        if not keys:
            return {}
        deadline = asyncio.get_running_loop().time() + limit_seconds
        inbox = _Inbox(keys)
        asker = uuid4().hex
        async with self._listening(asker, inbox, deadline):
            sending = [
                asyncio.create_task(
                    self._send(inbox, runner_id, key, question, asker, deadline), name=f"question to {runner_id}"
                )
                for runner_id, key in keys.items()
            ]
            try:
                await inbox.complete(deadline)
            finally:
                for task in sending:
                    task.cancel()
                ends = await asyncio.gather(*sending, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end
        return inbox.answers

    @asynccontextmanager
    async def _listening(self, asker: str, inbox: "_Inbox", deadline: float) -> AsyncGenerator[None, None]:
        """Have answers come into the inbox."""
        left_seconds = deadline - asyncio.get_running_loop().time()
        channel = await self._consuming.channel(within_seconds=min(left_seconds, CALL_LIMIT_SECONDS))
        try:
            queue = topology.answer_queue(asker)
            declaring = declare_exclusive(channel, queue, topology.QUESTIONS, topology.answer_key(asker))
            await bounded(declaring, left_seconds, "making a queue for answers")
            # None is settled: the queue is gone with the question.
            await Consumer.start(channel, queue.name, prefetch=inbox.most_answers, on_message=inbox.take, on_lost=inbox.lose)
            yield
        finally:
            await close_quietly(channel)

    async def _send(self, inbox: "_Inbox", runner_id: str, key: str, question: bytes, asker: str, deadline: float) -> None:
        left_seconds = max(0.001, deadline - asyncio.get_running_loop().time())
        message = aio_pika.Message(
            question,
            message_id=f"{asker}:{runner_id}",
            correlation_id=runner_id,
            reply_to=asker,
            # Not persistent: it is worth nothing after a restart. And nothing to a runner that wakes after its time.
            expiration=left_seconds,
        )
        try:
            await self._publisher.publish(topology.QUESTIONS, key, message, limit_seconds=left_seconds)
        except Unroutable:
            inbox.give_up(runner_id)
        except BusUnavailable as error:
            log.info("could not ask a runner", action="question_not_sent", runner_id=runner_id, error=str(error))
            # A nack, too, whose outcome is unknown by its nature: as many questions wait for that runner as may.
            inbox.give_up(runner_id, None if error.outcome_unknown else error)


class _Inbox:
    """The answers to one question."""

    def __init__(self, runner_ids: Collection[str]) -> None:
        self.answers: dict[str, bytes] = {}
        #: As many as AMQP can count.
        self.most_answers = min(len(runner_ids), 65_535)
        self._open = set(runner_ids)
        self._failures: list[BusUnavailable] = []
        self._asked = len(self._open)
        self._bytes = 0
        self._lost = False
        self._changed = asyncio.Event()

    def take(self, delivered: DeliveredMessage) -> None:
        """An answer has come."""
        runner_id = delivered.header.properties.correlation_id or ""
        if runner_id not in self._open:
            return
        self.give_up(runner_id)
        if len(delivered.body) > min(MOST_ANSWER_BYTES, MOST_ANSWERS_BYTES - self._bytes):
            log.warning("an answer is too large", action="answer_too_large", runner_id=runner_id, bytes=len(delivered.body))
            return
        self._bytes += len(delivered.body)
        self.answers[runner_id] = delivered.body

    def give_up(self, runner_id: str, error: BusUnavailable | None = None) -> None:
        """No answer will come (any more) from this one."""
        self._open.discard(runner_id)
        if error is not None:
            self._failures.append(error)
        self._changed.set()

    def lose(self) -> None:
        """No answer can come any more."""
        self._lost = True
        self._changed.set()

    async def complete(self, deadline: float) -> None:
        """Wait for all that may come until the deadline.

        Raises:
            BusUnavailable: nobody could be asked, or answers can't come any more.
        """
        try:
            async with asyncio.timeout_at(deadline):
                while self._open and not self._lost:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return
        if self._lost and self._open:
            raise BusUnavailable("the connection was lost before all had answered")
        if len(self._failures) == self._asked:
            raise self._failures[0]
