"""Puts executions onto a bus by the thousand: commands, and reports of executions that have ended."""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import aiormq
from aiormq import spec
from aiormq.abc import ChannelFrame
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from bus import topology
from bus.embedded.bus import EmbeddedBus
from bus.messages import Message, StreamName
from schemas.events import Ended, ExecutionEvent
from schemas.output import StreamSummary
from schemas.reasons import Reason
from schemas.status import Status
from schemas.times import utc_now

#: Publishes that begin together, and how many times as many wait for their confirms: the disk is waited for by all of them.
_WINDOW = 1_000
_WINDOWS = 5
_ENDINGS = (Status.COMPLETED, Status.COMPLETED, Status.COMPLETED, Status.FAILED, Status.TIMEOUT)


@dataclass(frozen=True, slots=True)
class Published:
    """One message, where it goes, and what it is called."""

    exchange: str
    key: str
    id: str
    body: bytes


#: Publishes these in order, and returns once all of them are confirmed.
Publish = Callable[[Sequence[Published]], Awaitable[None]]


def uid(number: int) -> str:
    """The execution id of this number. Like those of publishers, they come in no order."""
    return str(UUID(bytes=hashlib.md5(number.to_bytes(8, "big"), usedforsecurity=False).digest()))


def commands(first: int, count: int, programs: list[str], **parameters: object) -> Iterator[Published]:
    """Commands with the ids of these numbers, of each program in turn."""
    for number in range(first, first + count):
        command = {
            "program_id": programs[number % len(programs)],
            "parameters": {"NUMBER": number, **parameters},
            "submitted_by": "scale",
            "accepted_at": utc_now().isoformat(),
        }
        yield Published(topology.COMMANDS, topology.execute_key("default"), uid(number), json.dumps(command).encode())


def endings(first: int, count: int, programs: list[str]) -> Iterator[Published]:
    """Reports that executions with the ids of these numbers have ended, with a line of output each."""
    for number in range(first, first + count):
        status = _ENDINGS[number % len(_ENDINGS)]
        ended_at = utc_now()
        fact = Ended(
            execution_id=uid(number),
            program_id=programs[number % len(programs)],
            status=status,
            accepted_at=ended_at - timedelta(seconds=2),
            started_at=ended_at - timedelta(seconds=1),
            ended_at=ended_at,
            runner_id="scale",
            exit_code=0 if status is Status.COMPLETED else 1,
            reason=Reason.EXIT_CODE if status is Status.FAILED else None,
            stdout=StreamSummary.inline(b"a line of output, number %d\n" % number),
        )
        event = ExecutionEvent.of(fact, source="/runner/scale")
        yield Published(topology.REPORTS, event.routing_key, event.id, event.to_bytes())


async def pour(publish: Publish, messages: Iterable[Published]) -> int:
    """Publish them in order, many at a time; how many they were. Each was confirmed."""
    source, count = iter(messages), 0
    under_way: deque[asyncio.Future[None]] = deque()
    while window := list(islice(source, _WINDOW)):
        under_way.append(asyncio.ensure_future(publish(window)))
        count += len(window)
        if len(under_way) == _WINDOWS:
            await under_way.popleft()
    await asyncio.gather(*under_way)
    return count


@asynccontextmanager
async def rabbitmq(url: str) -> AsyncGenerator[Publish, None]:
    """Publishing with confirms over one channel."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        assert isinstance(channel, aiormq.Channel)

        async def publish(window: Sequence[Published]) -> None:
            # The library's own way costs a task and a wait for each message, which is most of the time that a million take.
            confirms: list[asyncio.Future[Any]] = []
            frames: list[Frame | ContentHeader | ContentBody] = []
            async with channel.lock:
                for message in window:
                    channel.delivery_tag += 1
                    channel.confirmations[channel.delivery_tag] = confirm = channel.create_future()
                    confirms.append(confirm)
                    properties = spec.Basic.Properties(delivery_mode=2, message_id=message.id, content_type="application/json")
                    frames += [
                        spec.Basic.Publish(exchange=message.exchange, routing_key=message.key),
                        ContentHeader(properties=properties, body_size=len(message.body)),
                        ContentBody(message.body),
                    ]
                await channel.write_queue.put(ChannelFrame.marshall(channel_number=channel.number, frames=frames))
            for answer in await asyncio.gather(*confirms):
                assert isinstance(answer, spec.Basic.Ack), answer

        yield publish
    finally:
        # Whoever is interrupted does not wait for the rest.
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                await connection.close()


@asynccontextmanager
async def embedded(state_dir: Path) -> AsyncGenerator[Publish, None]:
    """Writing into the file of an embedded bus that nobody else has open."""
    bus = EmbeddedBus(state_dir=state_dir)
    await bus.open(frozenset({"default"}))
    try:

        async def put(message: Published) -> None:
            carried = Message(id=message.id, body=message.body)
            if message.exchange == topology.COMMANDS:
                await bus.commands.accept("default", carried)
            else:
                await bus.streams.append(StreamName.LOG, message.key, carried)

        async def publish(window: Sequence[Published]) -> None:
            await asyncio.gather(*map(put, window))

        yield publish
    finally:
        await bus.close()
