"""Dead letters on RabbitMQ: a stream, read from its beginning by every process that asks for them."""

import asyncio
from contextlib import aclosing
from uuid import uuid4

import structlog

from bus import topology
from bus.backoff import Backoff
from bus.errors import BusUnavailable, StreamGap, Unroutable
from bus.messages import DeadLetter, DeadLetterPage, DeadReason, Message, Position
from bus.rabbitmq.connection import Link
from bus.rabbitmq.dead_letter_table import DeadLetterTable, letter_of
from bus.rabbitmq.envelope import from_amqp, to_amqp
from bus.rabbitmq.publisher import Publisher
from bus.rabbitmq.stream_reader import Read, StreamReader

log = structlog.get_logger()

#: Records that are pushed ahead: each may be as large as RabbitMQ lets through.
PREFETCH = 10
#: Seconds for a removal to be confirmed, and for whoever comes before all was read once.
LIMIT_SECONDS = 1.4


class RabbitDeadLetters:
    """Keeps the promises of :class:`bus.ports.DeadLetters`.

    What became of a letter is a later record of the same stream. So nothing is ever in one reader's hands, and a crash at any
    moment leaves the letter there, or removed.
    """

    def __init__(self, consuming: Link, publisher: Publisher) -> None:
        self._consuming = consuming
        self._publisher = publisher
        self._table = DeadLetterTable()
        #: Set once all has been read that was there when reading began.
        self._caught_up = asyncio.Event()
        self._mark = ""

    async def follow(self) -> None:
        """Read them, for ever."""
        backoff = Backoff()
        while True:
            self._caught_up.clear()
            self._table = DeadLetterTable()
            self._mark = str(uuid4())
            marking = asyncio.create_task(self._write_mark(self._mark), name="mark the end of the dead letters")
            try:
                await self._read()
            except StreamGap as gap:
                log.warning("reading all dead letters again", action="dead_letters_gap", error=str(gap))
            finally:
                marking.cancel()
                await asyncio.wait({marking})
            await backoff.pause()

    def count(self) -> int:
        """How many there are."""
        return len(self._table)

    async def page(self, limit: int, *, reason: DeadReason | None = None, before: int | None = None) -> DeadLetterPage:
        """The newest ones, the newest first."""
        await self._ready()
        return self._table.page(limit, reason, before)

    async def find(self, letter_id: str) -> tuple[DeadLetter, Message] | None:
        """One, and the command."""
        await self._ready()
        letter = self._table.find(letter_id)
        if letter is None:
            return None
        place = Position(letter.place, letter.message_id)
        read = await StreamReader(self._consuming, topology.DEAD, place, prefetch=PREFETCH).reread()
        if read is None or letter_of(read).id != letter_id:
            self._table.remove(letter_id)  # too old to be kept
            return None
        return letter, from_amqp(read.delivered)

    async def remove(self, letter_id: str) -> bool:
        """Remove one."""
        await self._ready()
        if self._table.find(letter_id) is None:
            return False
        try:
            await self._append(topology.DEAD_REMOVED_KEY, str(uuid4()), letter_id.encode())
        except Unroutable as error:
            raise BusUnavailable(f"dead letters have no stream: {error}") from error
        self._table.remove(letter_id)
        return True

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await self._caught_up.wait()
        except TimeoutError as error:
            raise BusUnavailable(self._consuming.problem or "the dead letters have not all been read yet") from error

    async def _read(self) -> None:
        reader = StreamReader(self._consuming, topology.DEAD, None, prefetch=PREFETCH)
        async with aclosing(reader.batches()) as batches:
            async for batch in batches:
                for read in batch:
                    self._apply(read)

    def _apply(self, read: Read) -> None:
        delivered = read.delivered
        if delivered.exchange != topology.REPORTS:
            self._table.add(letter_of(read))
        elif delivered.routing_key == topology.DEAD_REMOVED_KEY:
            self._table.remove(delivered.body.decode("ascii", "replace"))
        elif read.position.message_id == self._mark:
            self._caught_up.set()

    async def _write_mark(self, mark: str) -> None:
        backoff = Backoff()
        while True:
            try:
                return await self._append(topology.DEAD_MARK_KEY, mark, b"")
            except (BusUnavailable, Unroutable) as error:
                log.info("the dead letters can't be read yet", action="dead_letters_awaited", error=str(error))
                await backoff.pause()

    async def _append(self, key: str, record_id: str, body: bytes) -> None:
        message = to_amqp(Message(id=record_id, body=body, content_type="text/plain"))
        await self._publisher.publish(topology.REPORTS, key, message, limit_seconds=LIMIT_SECONDS)
