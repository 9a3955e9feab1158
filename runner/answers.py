"""What a runner says when it is asked about its containers."""

from collections.abc import Iterator

import structlog

from runner import labels
from runner.engine import Engine, RunningContainer, Tail
from runner.errors import ContainerGone, EngineUnavailable
from runner.image_names import is_same_image
from schemas.containers import Container, ContainerLog
from schemas.errors import MalformedQuestion
from schemas.questions import (
    MOST_CONTAINERS,
    ActiveContainers,
    ActiveContainersAnswer,
    Answer,
    ContainerLogs,
    ContainerLogsAnswer,
    Question,
    Unable,
    parse_question,
)

log = structlog.get_logger()

#: Bytes of each stream of a container that are told.
_MOST_STREAM_BYTES = 256 * 1024
#: Bytes of all logs of one answer as they travel. A byte of a stream may become six: one container's always fit.
_MOST_LOG_BYTES = 6 * 1024**2
#: Characters of a container's id that are told, as Docker's own lists show it.
_ID_LENGTH = 12


class Answers:
    """Asks the engine. Only this runner's containers are ever told of, so that runners that share an engine repeat nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, body: bytes) -> bytes:
        """The answer to a question, as both travel."""
        try:
            return (await self._answer(parse_question(body))).to_bytes()
        except MalformedQuestion as error:
            log.warning("was asked what it does not understand", action="question_malformed", why=str(error))
            return Unable(why=str(error)).to_bytes()
        except EngineUnavailable as error:
            return Unable(why=str(error)).to_bytes()

    async def _answer(self, question: Question) -> Answer:
        match question:
            case ActiveContainers():
                running = await self._engine.list_running()
                shown = tuple(_shown(container) for container in running[:MOST_CONTAINERS])
                return ActiveContainersAnswer(containers=shown, truncated=len(shown) < len(running))
            case ContainerLogs():
                return await self._logs(question)

    async def _logs(self, question: ContainerLogs) -> ContainerLogsAnswer:
        logs: list[ContainerLog] = []
        told_bytes = 0
        for container in _of_image(await self._engine.list_running(), question.image):
            try:
                tail = await self._engine.tail(container.container_id, question.tail, _MOST_STREAM_BYTES)
            except ContainerGone:
                continue  # it has ended meanwhile
            told = _told(container, tail)
            told_bytes += len(told.model_dump_json().encode())
            if told_bytes > _MOST_LOG_BYTES or len(logs) >= MOST_CONTAINERS:
                return ContainerLogsAnswer(logs=tuple(logs), truncated=True)
            logs.append(told)
        return ContainerLogsAnswer(logs=tuple(logs))


def _of_image(running: list[RunningContainer], image: str) -> Iterator[RunningContainer]:
    return (container for container in running if is_same_image(_image_of(container), image))


def _image_of(container: RunningContainer) -> str:
    # A service of a Compose program has no image in config.yaml.
    return container.labels.get(labels.IMAGE) or container.image


def _told(container: RunningContainer, tail: Tail) -> ContainerLog:
    return ContainerLog(
        container_id=container.container_id[:_ID_LENGTH],
        stdout=tail.stdout.decode(errors="replace"),
        stderr=tail.stderr.decode(errors="replace"),
        truncated=tail.truncated,
    )


def _shown(container: RunningContainer) -> Container:
    return Container(
        container_id=container.container_id[:_ID_LENGTH],
        image=_image_of(container),
        status=container.status,
        name=container.name,
    )
