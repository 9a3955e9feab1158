"""Questions on the embedded bus: who asks and who answers are in this process."""

import asyncio
from collections.abc import Collection, Mapping

import structlog

from bus import topology
from bus.embedded.tide import Tide
from bus.limits import MOST_ANSWER_BYTES, MOST_QUESTION_BYTES
from bus.ports import AnswerHandler

log = structlog.get_logger()


class EmbeddedQuestions:
    """Keeps the promises of :class:`bus.ports.Questions`."""

    def __init__(self) -> None:
        self._handlers: dict[str, AnswerHandler] = {}
        #: Questions that wait or are being answered.
        self._under_way = 0
        self._turns = asyncio.Semaphore(topology.QUESTIONS_AT_A_TIME)
        self._closed = Tide()

    async def answer(self, runner_id: str, handler: AnswerHandler) -> None:
        """Answer the questions to this runner, for ever."""
        topology.question_key(runner_id)
        self._handlers[runner_id] = handler
        try:
            await self._closed.above(0)
        finally:
            if self._handlers.get(runner_id) is handler:
                del self._handlers[runner_id]

    async def ask(self, runner_ids: Collection[str], question: bytes, *, limit_seconds: float) -> Mapping[str, bytes]:
        """Ask these runners at the same time."""
        if len(question) > MOST_QUESTION_BYTES:
            raise ValueError(f"a question of {len(question)} bytes is too large")
        for runner_id in runner_ids:
            topology.question_key(runner_id)
        asked = [runner_id for runner_id in dict.fromkeys(runner_ids) if runner_id in self._handlers]
        answers = await asyncio.gather(*(self._answer_of(runner_id, question, limit_seconds) for runner_id in asked))
        return {runner_id: answer for runner_id, answer in zip(asked, answers, strict=True) if answer is not None}

    def close(self) -> None:
        """Whoever answers gets BusClosed."""
        self._closed.close()

    async def _answer_of(self, runner_id: str, question: bytes, limit_seconds: float) -> bytes | None:
        if self._under_way >= topology.QUESTIONS_LENGTH:
            return None
        self._under_way += 1
        try:
            async with asyncio.timeout(limit_seconds), self._turns:
                answer = await self._handlers[runner_id](question)
        except TimeoutError:
            return None
        except Exception:
            log.exception("a question could not be answered", action="question_failed")
            return None
        finally:
            self._under_way -= 1
        if len(answer) > MOST_ANSWER_BYTES:
            log.error("an answer is too large to send", action="answer_too_large", bytes=len(answer))
            return None
        return answer
