"""The answering side of questions."""

import asyncio
from uuid import uuid4

import aio_pika
import structlog
from aiormq.abc import DeliveredMessage

from bus import topology
from bus.backoff import Backoff
from bus.errors import BusUnavailable, Unroutable
from bus.limits import MOST_ANSWER_BYTES, MOST_QUESTION_BYTES
from bus.ports import AnswerHandler
from bus.rabbitmq.calls import CALL_LIMIT_SECONDS, bounded
from bus.rabbitmq.connection import Link, close_quietly
from bus.rabbitmq.consumer import Consumer, ack
from bus.rabbitmq.declaration import declare_exclusive
from bus.rabbitmq.publisher import Publisher

log = structlog.get_logger()

#: Seconds for an answer where a question does not say how long its asker waits, and at most.
_LONGEST_SECONDS = 60.0
#: Seconds for an answer to be confirmed.
_SEND_SECONDS = 5.0


class Respondent:
    """Answers the questions to one runner."""

    def __init__(self, link: Link, publisher: Publisher, runner_id: str, handler: AnswerHandler) -> None:
        self._key = topology.question_key(runner_id)
        self._link = link
        self._publisher = publisher
        self._runner_id = runner_id
        self._handler = handler
        self._answering: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answer, for ever, on one connection after the other.

        Raises:
            BusClosed: the bus was closed.
        """
        backoff = Backoff()
        while True:
            try:
                await self._serve(backoff)
            except BusUnavailable as error:
                log.info("can't be asked", action="questions_unavailable", error=str(error))
            await backoff.pause()

    async def _serve(self, backoff: Backoff) -> None:
        """Answer until the connection is lost."""
        channel = await self._link.channel()
        lost = asyncio.Event()
        try:
            queue = topology.question_queue(self._runner_id, uuid4().hex)
            await bounded(
                declare_exclusive(channel, queue, topology.QUESTIONS, self._key), CALL_LIMIT_SECONDS, "declaring the questions"
            )
            await Consumer.start(
                channel, queue.name, prefetch=topology.QUESTIONS_AT_A_TIME, on_message=self._begin, on_lost=lost.set
            )
            backoff.reset()
            await lost.wait()
        finally:
            for task in self._answering:
                task.cancel()
            await asyncio.gather(*self._answering, return_exceptions=True)
            await close_quietly(channel)

    def _begin(self, delivered: DeliveredMessage) -> None:
        task = asyncio.create_task(self._settle(delivered), name="answer to a question")
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _settle(self, delivered: DeliveredMessage) -> None:
        try:
            answer = await self._answer(delivered)
            if answer is not None:
                await self._send(delivered, answer)
            await ack(delivered)
        except BusUnavailable as error:
            log.info("an answer was not sent", action="answer_not_sent", error=str(error))

    async def _answer(self, delivered: DeliveredMessage) -> bytes | None:
        """What the handler says; ``None`` where there is nothing to send."""
        if len(delivered.body) > MOST_QUESTION_BYTES:
            log.warning("a question is too large", action="question_too_large", bytes=len(delivered.body))
            return None
        try:
            async with asyncio.timeout(_limit_of(delivered)):
                answer = await self._handler(delivered.body)
        except TimeoutError:
            log.info("a question was not answered in time", action="answer_too_late")
            return None
        except Exception:
            log.exception("a question could not be answered", action="question_failed")
            return None
        if len(answer) > MOST_ANSWER_BYTES:
            log.error("an answer is too large to send", action="answer_too_large", bytes=len(answer))
            return None
        return answer

    async def _send(self, delivered: DeliveredMessage, answer: bytes) -> None:
        asked = delivered.header.properties
        try:
            key = topology.answer_key(asked.reply_to or "")
            message = aio_pika.Message(answer, message_id=f"{self._runner_id}:{uuid4()}", correlation_id=asked.correlation_id)
            await self._publisher.publish(topology.QUESTIONS, key, message, limit_seconds=_SEND_SECONDS)
        except (ValueError, Unroutable) as error:
            log.info("nobody waits for an answer", action="answer_unwanted", error=str(error))


def _limit_of(delivered: DeliveredMessage) -> float:
    """Seconds that the asker waits, from when the question was sent."""
    try:
        return min(int(delivered.header.properties.expiration or "") / 1000, _LONGEST_SECONDS)
    except ValueError:
        return _LONGEST_SECONDS
