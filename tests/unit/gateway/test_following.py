"""Server-sent events of one execution."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from gateway.followers import Followers
from gateway.handlers import follow as follow_handler
from gateway.keys import FOLLOWERS
from schemas.executions import Execution
from schemas.following import Piece, Place, Read
from schemas.ids import new_execution_id
from schemas.output import StreamName, StreamSummary
from schemas.status import Status
from schemas.times import utc_now
from tests.support.gateway_fakes import World, client_of
from tests.support.wait import eventually

OUT, ERR = StreamName.STDOUT, StreamName.STDERR


def queued() -> Execution:
    return Execution(execution_id=new_execution_id(), program_id="hello", status=Status.QUEUED, accepted_at=utc_now())


def running(execution: Execution) -> Execution:
    return replace(execution, status=Status.RUNNING, started_at=utc_now(), runner_id="runner1")


def completed(execution: Execution, *, chunks: int) -> Execution:
    summary = StreamSummary(total_bytes=chunks, kept_bytes=chunks, chunks=chunks)
    return replace(execution, status=Status.COMPLETED, ended_at=utc_now(), exit_code=0, stdout=summary, stderr=StreamSummary())


def events(body: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, id and data of each event."""
    found = []
    for block in body.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    return found


async def test_m3_statuses_and_output_come_in_order_and_the_stream_ends_with_the_execution(world: World) -> None:
    execution = queued()
    await world.view.put(execution)
    async with client_of(world.app()) as client:
        answer = await client.get(f"/executions/{execution.execution_id}/logs/stream")
        assert answer.headers["Content-Type"] == "text/event-stream"
        await eventually_read(world, 1)
        await world.view.put(running(execution), None, Piece(OUT, 0, b"one\n"), Piece(ERR, 0, b"\xff"))
        await eventually_read(world, 3)
        await world.view.put(completed(running(execution), chunks=3), None, Piece(OUT, 1, b"two\n"))
        told = events(await answer.text())
    assert [event for event, _, _ in told] == ["queued", "running", "output", "output", "output", "completed"]
    # Each is a CloudEvent, the same as subscribers get.
    assert [data["type"].split(".")[-2] for _, _, data in told] == [event for event, _, _ in told]
    outputs = [data["data"] for event, _, data in told if event == "output"]
    assert [(chunk["stream"], chunk["sequence"], chunk["content"]) for chunk in outputs] == [
        ("stdout", 0, "one\n"),
        ("stderr", 0, "/w=="),
        ("stdout", 1, "two\n"),
    ]
    assert told[-1][1] == "end"


async def test_m3_who_comes_late_hears_of_a_start_what_those_heard_who_were_there(world: World) -> None:
    execution = replace(running(queued()), image="img", container_id="c", was_warm=True)
    await world.view.put(execution)
    async with client_of(world.app()) as client:
        answer = await client.get(f"/executions/{execution.execution_id}/logs/stream")
        await eventually_read(world, 1)
        await world.view.put(completed(execution, chunks=0))
        (data,) = [data["data"] for event, _, data in events(await answer.text()) if event == "running"]
    assert (data["image"], data["container_id"], data["was_warm"]) == ("img", "c", True)


async def eventually_read(world: World, sights: int) -> None:
    async def seen() -> int:
        return world.view.sights

    await eventually(seen, lambda count: count >= sights)


async def test_m3_who_comes_back_gets_what_follows_and_whoever_has_seen_the_end_gets_nothing(world: World) -> None:
    execution = completed(running(queued()), chunks=3)
    await world.view.put(execution, None, *(Piece(OUT, number, b"x") for number in range(3)))
    path = f"/executions/{execution.execution_id}/logs/stream"
    async with client_of(world.app()) as client:
        told = events(await (await client.get(path)).text())
        for number, (_, event_id, _) in enumerate(told[:-1]):
            again = await client.get(path, headers={"Last-Event-ID": event_id})
            assert events(await again.text()) == told[number + 1 :]
        assert (await client.get(path, headers={"Last-Event-ID": "end"})).status == 204


@pytest.mark.parametrize("last", ["", "x", "0.0.0.0.0.0", "1.3.0.0.0.0", "1.1.99999999999999999.0.0.0", "1.1.1.1.1.1\u0661"])
async def test_an_id_that_is_none_is_refused(world: World, last: str) -> None:
    execution = completed(queued(), chunks=0)
    await world.view.put(execution)
    async with client_of(world.app()) as client:
        answer = await client.get(f"/executions/{execution.execution_id}/logs/stream", headers={"Last-Event-ID": last})
        assert answer.status == (200 if last == "" else 422)


async def test_an_unknown_execution_is_404_and_head_tells_without_a_body(world: World) -> None:
    execution = queued()
    await world.view.put(execution)
    async with client_of(world.app()) as client:
        assert (await client.get(f"/executions/{new_execution_id()}/logs/stream")).status == 404
        assert (await client.get("/executions/nonsense/logs/stream")).status == 404
        assert (await client.head(f"/executions/{execution.execution_id}/logs/stream")).status == 200


async def test_fault32_followers_at_one_place_share_what_is_read(world: World) -> None:
    execution = running(queued())
    await world.view.put(execution)
    following = Followers(world.view, world.view)
    heard: list[bytes] = []

    async def follow() -> None:
        async for told in following.follow(execution.execution_id, Place()):
            heard.append(told)  # noqa: PERF401 - counted while they come

    tasks = [asyncio.create_task(follow()) for _ in range(500)]

    async def told() -> int:
        return len(heard)

    await eventually(told, lambda count: count == 500)
    before = world.view.sights
    await world.view.put(completed(execution, chunks=1), None, Piece(OUT, 0, b"x"))
    await asyncio.gather(*tasks)
    assert len(heard) == 3 * 500
    assert world.view.sights - before <= 4


async def test_fault32_above_the_most_followers_one_more_is_told_to_come_later(world: World) -> None:
    execution = queued()
    await world.view.put(execution)
    app = world.app()
    app[FOLLOWERS] = Followers(world.view, world.view, most=1)
    async with client_of(app) as client:
        first = await client.get(f"/executions/{execution.execution_id}/logs/stream")
        second = await client.get(f"/executions/{execution.execution_id}/logs/stream")
        assert (second.status, (await second.json())["type"]) == (429, "/problems/too-many-followers")
        assert int(second.headers["Retry-After"]) > 0
        first.close()


async def test_a_quiet_stream_has_a_heartbeat_and_a_gateway_that_stops_lets_go(world: World) -> None:
    execution = running(queued())
    await world.view.put(execution)
    following = Followers(world.view, world.view, heartbeat_seconds=0.02)
    told = following.follow(execution.execution_id, Place())
    assert b"event: running" in await anext(told)
    assert await anext(told) == b": \n\n"
    following.close()
    assert await anext(told, None) is None


async def test_an_ending_whose_output_does_not_arrive_is_told_after_a_while(world: World) -> None:
    execution = completed(running(queued()), chunks=5)
    await world.view.put(execution)
    following = Followers(world.view, world.view, output_grace_seconds=0.05)
    told = [one async for one in following.follow(execution.execution_id, Place())]
    assert b"event: completed\nid: end" in told[-1]


def test_a_place_is_what_its_text_says() -> None:
    place = Place(2, 1, {OUT: Read(3, 70), ERR: Read(0, 0)})
    assert Place.parse(str(place)) == place
    assert Place.parse(str(Place())) == Place()
    assert place.after(Piece(OUT, 3, b"abc")).read[OUT] == Read(4, 73)


async def test_fault32_a_follower_that_does_not_read_on_is_dropped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_handler, "STALLED_SECONDS", 0.1)
    execution = running(queued())
    # More than the buffers of both ends take.
    await world.view.put(execution, None, *(Piece(OUT, number, b"x" * 65536) for number in range(300)))
    async with client_of(world.app()) as client:
        answer = await client.get(f"/executions/{execution.execution_id}/logs/stream")
        followers = world.view.bells[execution.execution_id]

        async def following() -> int:
            return len(followers)

        await eventually(following, lambda count: count == 0)
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
