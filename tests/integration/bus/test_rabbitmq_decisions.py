"""What a control stream can hold, and what may become of the copy of it."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest

from bus import topology
from bus.messages import Claim, End
from bus.rabbitmq import stream_reader
from bus.rabbitmq.bus import CLAIMS_FILE
from bus.rabbitmq.claims import Claims
from bus.rabbitmq.control import to_message
from tests.integration.bus.amqp import channel_to, publish
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import claim, soon, stays_silent

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]


async def test_a_claim_that_stands_in_the_stream_wins_over_a_later_one_whoever_published_it(rabbits: Buses) -> None:
    bus = await rabbits.open()
    foreign = claim(str(uuid4()))
    async with channel_to(rabbits.url) as channel:
        record = aio_pika.Message(to_message(foreign).body, message_id="x")
        await publish(channel, topology.REPORTS, topology.CLAIM_KEY, record)
    assert await soon(bus.decisions.decide(claim(foreign.execution_id))) == foreign


async def test_anybody_may_cancel_over_amqp_and_nothing_else(rabbits: Buses) -> None:
    bus = await rabbits.open()
    execution_id = str(uuid4())
    async with channel_to(rabbits.url) as channel:
        body = f'{{"execution_id": "{execution_id}", "reason": "something of my own"}}'.encode()
        await publish(channel, topology.COMMANDS, topology.CANCEL_KEY, aio_pika.Message(body))
        with pytest.raises(aio_pika.exceptions.PublishError):
            await publish(channel, topology.COMMANDS, topology.CLAIM_KEY, aio_pika.Message(b"{}"))
    end = End(execution_id=execution_id, reason="cancelled", why="something of my own")
    assert await soon(bus.decisions.decide(claim(execution_id))) == end


async def test_a_cancel_over_amqp_after_the_claim_is_heard_of_and_malformed_ones_are_counted(rabbits: Buses) -> None:
    bus = await rabbits.open()
    claimed = claim(str(uuid4()))
    await bus.decisions.decide(claimed)
    malformed = [b"", b"[]", b'{"execution_id": 7}', b'{"execution_id": ""}', b'{"execution_id": "x", "reason": {}}']
    async with aclosing(bus.decisions.ends()) as ends:  # type: ignore[type-var]
        async with channel_to(rabbits.url) as channel:
            for body in malformed:
                await publish(channel, topology.COMMANDS, topology.CANCEL_KEY, aio_pika.Message(body))
            body = f'{{"execution_id": "{claimed.execution_id}", "reason": "no more"}}'.encode()
            await publish(channel, topology.COMMANDS, topology.CANCEL_KEY, aio_pika.Message(body, message_id="any"))
        assert await soon(anext(ends)) == End(execution_id=claimed.execution_id, reason="cancelled", why="no more")
    assert bus.decisions.malformed == len(malformed)  # type: ignore[attr-defined]


async def test_who_waits_for_ends_does_not_look_for_them_after_each_claim(
    rabbits: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await rabbits.open()
    looked_after: list[int] = []
    ends_after = Claims.ends_after

    def counted(claims: Claims, sequence: int, limit: int) -> list[tuple[int, End]]:
        looked_after.append(sequence)
        return ends_after(claims, sequence, limit)

    monkeypatch.setattr(Claims, "ends_after", counted)
    async with aclosing(bus.decisions.ends()) as ends:  # type: ignore[type-var]
        waiting = asyncio.ensure_future(anext(ends))
        for _ in range(5):
            await soon(bus.decisions.decide(claim(str(uuid4()))))
        end = End(execution_id=str(uuid4()), reason="cancelled")
        await soon(bus.decisions.decide(end))
        assert await soon(waiting) == end
    assert looked_after == [0, 0]


async def test_malformed_records_are_skipped_and_counted(rabbits: Buses) -> None:
    bus = await rabbits.open()
    good = to_message(claim(str(uuid4()))).body
    bodies = [
        *(b"", b"not json", b"[]", b"{}", b"\xff\xfe", b'{"execution_id": 7}', b"null"),
        good.replace(b'"attempt":1', b'"attempt":0'),
        good.replace(b'"attempt":1', b'"attempt":99999999999999999999999'),
        good.replace(b'"attempt":1', b'"attempt":true'),
        good.replace(b'"nonce":"', b'"nonce":"\\ud800'),
    ]
    async with channel_to(rabbits.url) as channel:
        for body in bodies:
            await publish(channel, topology.REPORTS, topology.CLAIM_KEY, aio_pika.Message(body))
        await publish(channel, topology.REPORTS, "control.something_newer", aio_pika.Message(b"?"))
    wanted = claim(str(uuid4()))
    assert await soon(bus.decisions.decide(wanted)) == wanted
    assert bus.decisions.malformed == len(bodies)  # type: ignore[attr-defined]
    assert bus.state.problem is None


async def test_decisions_are_found_again_after_the_copy_was_lost(rabbits: Buses, tmp_path: Path) -> None:
    decided = claim(str(uuid4()))
    bus = await rabbits.open(state="one")
    await bus.decisions.decide(decided)
    await bus.close()
    (tmp_path / "one" / CLAIMS_FILE).unlink()
    bus = await rabbits.open(state="one")
    assert await soon(bus.decisions.decide(claim(decided.execution_id))) == decided


async def test_decisions_are_found_again_after_the_copy_was_damaged(rabbits: Buses, tmp_path: Path) -> None:
    decided = claim(str(uuid4()))
    bus = await rabbits.open(state="one")
    await bus.decisions.decide(decided)
    await bus.close()
    (tmp_path / "one" / CLAIMS_FILE).write_bytes(b"this is no database" * 1000)
    bus = await rabbits.open(state="one")
    assert await soon(bus.decisions.decide(claim(decided.execution_id))) == decided


async def refilled_stream(rabbits: Buses, number: int) -> list[Claim]:
    """A bus's copy that has read ten records, and a control stream that was then replaced by one of so many others."""
    bus = await rabbits.open(state="one")
    for _ in range(10):
        await bus.decisions.decide(claim(str(uuid4())))
    await bus.close()
    async with channel_to(rabbits.url) as channel:
        await channel.queue_delete(topology.CONTROL)
    other = await rabbits.open(state="other")
    claims = [claim(str(uuid4())) for _ in range(number)]
    for one in claims:
        await other.decisions.decide(one)
    return claims


async def test_bus6_a_replaced_stream_is_noticed_and_read_from_its_first_record(rabbits: Buses) -> None:
    claims = await refilled_stream(rabbits, 20)
    bus = await rabbits.open(state="one")
    assert await soon(bus.decisions.decide(claim(claims[0].execution_id))) == claims[0]


async def test_bus6_a_stream_that_is_shorter_than_what_was_read_does_not_hang_for_ever(
    rabbits: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_reader, "FIRST_RECORD_SECONDS", 1.0)
    claims = await refilled_stream(rabbits, 2)
    bus = await rabbits.open(state="one")
    assert await soon(bus.decisions.decide(claim(claims[0].execution_id))) == claims[0]


async def test_bus6_a_gap_is_told_to_who_has_claimed_and_the_claim_counts_again(
    rabbits: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_reader, "FIRST_RECORD_SECONDS", 1.0)
    bus = await rabbits.open()
    mine = claim(str(uuid4()))
    await bus.decisions.decide(mine)
    gaps = bus.decisions.gaps()
    told = asyncio.ensure_future(anext(gaps))
    await stays_silent(asyncio.shield(told))
    async with channel_to(rabbits.url) as channel:
        await channel.queue_delete(topology.CONTROL)
    other = await rabbits.open()
    await soon(told)
    assert await soon(bus.decisions.decide(mine)) == mine
    assert await soon(other.decisions.decide(claim(mine.execution_id))) == mine
