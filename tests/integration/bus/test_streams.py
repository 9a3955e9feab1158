"""Appending and reading, on both buses."""

import asyncio
from contextlib import aclosing

import pytest

from bus.errors import BusClosed, StreamGap
from bus.messages import Position, Source, StreamName
from bus.ports import Bus
from bus.rabbitmq import stream_reader
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import collect, command, read, report, soon, stays_silent


async def append(bus: Bus, *ids: str) -> None:
    for message_id in ids:
        await bus.streams.append(StreamName.LOG, "execution.running.p", report(message_id))


async def test_reports_are_read_as_they_were_appended_and_in_order(bus: Bus) -> None:
    await append(bus, "a", "b", "c")
    records = await read(bus, 3)
    assert [record.message for record in records] == [report("a"), report("b"), report("c")]
    assert {(record.source, record.key) for record in records} == {(Source.REPORTS, "execution.running.p")}
    offsets = [record.position.offset for record in records]
    assert offsets == sorted(set(offsets))


async def test_reading_goes_on_after_a_position(buses: Buses) -> None:
    bus = await buses.open()
    await append(bus, *"abcdef")
    records = await read(bus, 6)
    for number, record in enumerate(records[:-1]):
        rest = await read(bus, 5 - number, after=record.position)
        assert rest == records[number + 1 :]
    bus = await buses.reopen(bus)
    await append(bus, "g")
    (last,) = await read(bus, 1, after=records[-1].position)
    assert last.message.id == "g"


async def test_a_reader_at_the_end_waits_for_what_comes(bus: Bus) -> None:
    await append(bus, "a")
    (record,) = await read(bus, 1)
    async with aclosing(bus.streams.read(StreamName.LOG, record.position)) as batches:  # type: ignore[type-var]
        reading = asyncio.create_task(collect(batches, 1))
        await stays_silent(asyncio.shield(reading))
        await append(bus, "b")
        assert [record.message.id for record in await soon(reading)] == ["b"]


async def test_commands_and_reports_share_one_order(bus: Bus) -> None:
    await bus.commands.accept("default", command("one"))
    await append(bus, "two")
    await bus.commands.accept("default", command("three"))
    records = await read(bus, 3)
    assert [(record.source.value, record.message.id) for record in records] == [
        ("commands", "one"),
        ("reports", "two"),
        ("commands", "three"),
    ]


async def test_output_has_a_stream_of_its_own(bus: Bus) -> None:
    await bus.streams.append(StreamName.OUTPUT, "output.p.x", report("chunk"))
    await append(bus, "event")
    assert [record.message.id for record in await read(bus, 1, stream=StreamName.OUTPUT)] == ["chunk"]
    assert [record.message.id for record in await read(bus, 1)] == ["event"]


async def test_m29_what_must_be_remembered_has_a_stream_of_its_own_that_the_next_process_reads_from_its_beginning(
    buses: Buses,
) -> None:
    bus = await buses.open()
    await append(bus, "event")
    for number in range(3):
        await bus.streams.append(StreamName.STATE, "state.kind", report(f"s{number}"))
    bus = await buses.reopen(bus)
    records = await read(bus, 3, stream=StreamName.STATE)
    assert [(record.message.id, record.key, record.source) for record in records] == [
        (f"s{number}", "state.kind", Source.REPORTS) for number in range(3)
    ]
    await bus.streams.append(StreamName.STATE, "state.kind", report("s3"))
    (last,) = await read(bus, 1, stream=StreamName.STATE, after=records[-1].position)
    assert last.message.id == "s3"
    assert [record.message.id for record in await read(bus, 1)] == ["event"]


async def test_a_key_must_lead_to_its_stream(bus: Bus) -> None:
    with pytest.raises(ValueError, match="begins with"):
        await bus.streams.append(StreamName.LOG, "output.p.x", report("chunk"))


async def test_several_readers_see_everything(buses: Buses) -> None:
    several = [await buses.open() for _ in range(buses.most)]
    ids = [f"r{number}" for number in range(50)]
    await append(several[0], *ids)
    for seen in await asyncio.gather(*(read(bus, 50) for bus in several * 2)):
        assert [record.message.id for record in seen] == ids


async def test_thousands_of_records_come_without_gap_or_repeat_in_batches(bus: Bus) -> None:
    ids = [f"r{number}" for number in range(2_500)]
    for first in range(0, len(ids), 500):
        await asyncio.gather(*(append(bus, message_id) for message_id in ids[first : first + 500]))
    records = await read(bus, len(ids))
    assert [record.message.id for record in records] == ids
    assert [record.position.offset for record in records] == list(
        range(records[0].position.offset, records[0].position.offset + len(ids))
    )


async def test_a_reader_that_is_cancelled_leaves_others_alone(bus: Bus) -> None:
    batches = bus.streams.read(StreamName.LOG, None)
    reading = asyncio.ensure_future(anext(batches))
    await stays_silent(asyncio.shield(reading))
    reading.cancel()
    await asyncio.wait({reading})
    assert reading.cancelled()
    await append(bus, "a")
    assert len(await read(bus, 1)) == 1


async def test_bus6_a_place_that_holds_another_record_is_a_gap(bus: Bus) -> None:
    await append(bus, "a", "b")
    first, _ = await read(bus, 2)
    other = Position(first.position.offset, "of another log")
    with pytest.raises(StreamGap) as gap:
        await read_from(bus, other)
    assert (gap.value.expected, gap.value.seen, gap.value.replaced) == (other, first.position, True)


async def test_bus6_a_place_beyond_the_end_is_a_gap_and_does_not_wait_for_ever(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_reader, "FIRST_RECORD_SECONDS", 1.0)
    for _ in range(2):
        with pytest.raises(StreamGap) as gap:
            await read_from(bus, Position(1000, "of a longer log"))
        assert (gap.value.seen, gap.value.replaced) == (None, True)
        await append(bus, "a")


async def test_the_end_of_a_stream_is_the_place_of_its_last_record(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reader, "FIRST_RECORD_SECONDS", 1.0)
    assert await bus.streams.end(StreamName.LOG) is None
    await append(bus, *(str(number) for number in range(200)))
    records = await read(bus, 200)
    assert await bus.streams.end(StreamName.LOG) == records[-1].position.offset


async def read_from(bus: Bus, after: Position) -> list[object]:
    async with aclosing(bus.streams.read(StreamName.LOG, after)) as batches:  # type: ignore[type-var]
        return await collect(batches, 1)


async def test_closing_the_bus_ends_a_waiting_reader(bus: Bus) -> None:
    reading = asyncio.ensure_future(anext(bus.streams.read(StreamName.LOG, None)))
    await stays_silent(asyncio.shield(reading))
    await bus.close()
    with pytest.raises(BusClosed):
        await soon(reading)
