"""Fault 11: what can't be understood never holds up what can. A real bus and a real runner, on an engine without containers."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from itertools import cycle
from pathlib import Path

from bus.messages import DeadReason, Message, StreamName
from bus.ports import Bus
from schemas.commands import MAX_COMMAND_BYTES
from schemas.events import Ended, parse_event
from schemas.ids import new_execution_id
from schemas.progress_events import PROGRESS_KEYS
from schemas.status import Status
from tests.integration.bus.test_dead_letters import followed, until
from tests.support.runner_fixtures import make_hub

#: Poison, and how its reason begins.
POISON = {
    b"": "the body is not JSON",
    b"\x00\xff\xfe": "the body is not JSON",
    b"{": "the body is not JSON",
    b"[" * 60_000: "the body is not JSON",
    b'{"program_id": "example", "parameters": {"n": NaN}}': "the body is not JSON",
    b'{"program_id": "example", "parameters": {"n": 1e999}}': "the body is not JSON",
    b'{"program_id": "example", "parameters": {"\\ud800": 1}}': "the body is not",
    b"[]": "the body is not an ExecuteProgram",
    b'{"parameters": {}}': "the body is not an ExecuteProgram",
    b'{"program_id": "example", "parameters": 1}': "the body is not an ExecuteProgram",
    b"x" * (MAX_COMMAND_BYTES + 1): "the body has ",
}


def mixed(number: int) -> Iterator[Message]:
    """So many good commands and as much poison, in a random order that is the same each time."""
    good = json.dumps({"program_id": "example"}).encode()
    bodies = [body for body, _ in zip(cycle(POISON), range(number), strict=False)] + [good] * number
    random.Random(11).shuffle(bodies)
    return (Message(id=new_execution_id(), body=body) for body in bodies)


async def endings(bus: Bus, number: int) -> Counter[Status]:
    """How so many executions ended."""
    seen: Counter[Status] = Counter()
    async with aclosing(bus.streams.read(StreamName.LOG, None)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            for record in batch:
                if record.key.startswith("execution.") and not record.key.startswith(PROGRESS_KEYS):
                    event = parse_event(record.message.body)
                    seen[event.data.status] += isinstance(event.data, Ended)
            if seen.total() >= number:
                break
    return seen


async def test_fault11_m28_of_200_poisoned_and_200_good_commands_each_ends_where_it_belongs(bus: Bus, tmp_path: Path) -> None:
    await sort_out(bus, tmp_path, 200)


def batched(messages: list[Message], size: int) -> Iterator[list[Message]]:
    """The same messages, so many at a time."""
    return (messages[at : at + size] for at in range(0, len(messages), size))


async def sort_out(bus: Bus, folder: Path, number: int) -> None:
    """Run so many good commands among as much poison."""
    hub = make_hub(folder, max_concurrent_executions=20)
    hub.bus = bus  # type: ignore[assignment]
    async with followed(bus):
        messages = list(mixed(number))
        for some in batched(messages, 100):  # all at once would be too many to be confirmed in time
            await asyncio.gather(*(bus.commands.accept("default", message) for message in some))
        async with hub.runner() as runner, asyncio.timeout(60):
            assert await endings(bus, number) == {Status.COMPLETED: number, Status.RUNNING: 0}
            letters = await until(bus, lambda seen: len(seen) >= number)
            assert runner.problem is None
        assert await bus.commands.waiting("default") == 0
        expected = {message.id: POISON[message.body] for message in messages if message.body in POISON}
        assert {letter.message_id for letter in letters} == expected.keys()
        for letter in letters:
            assert letter.reason is DeadReason.MALFORMED
            assert letter.detail.startswith(expected[letter.message_id])
