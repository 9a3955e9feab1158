"""M8: several attempts of an execution on real SQLite files: its output is that of the newest one whose program was started."""

import json

from bus.messages import Record, StreamName
from gateway.followers import Followers
from hub.endings import Endings
from hub.view import View
from schemas.executions import ToRetry
from schemas.following import Piece, Place
from schemas.output import Output, StreamSummary
from schemas.output import StreamName as ProgramStream
from schemas.reasons import Reason
from schemas.status import Status
from tests.support.records import (
    asked,
    attempt_ended,
    chunk,
    ended,
    in_chunks,
    numbered,
    retried,
    running,
    told,
    uid,
)

ONE, TWO = uid(1), uid(2)
OUT = ProgramStream.STDOUT


def inline(content: str) -> StreamSummary:
    return StreamSummary(total_bytes=len(content), kept_bytes=len(content), encoding="utf-8", content=content)


async def fold_in(view: View, *records: Record) -> None:
    position = await view.position(StreamName.LOG)
    await view.apply_log(numbered(*records, start=0 if position is None else position.offset + 1), keep_finished=100)


async def pour(view: View, *records: Record) -> None:
    position = await view.position(StreamName.OUTPUT)
    await view.apply_output(numbered(*records, start=0 if position is None else position.offset + 1))


async def test_m8_the_row_comes_back_as_it_was_folded(view: View) -> None:
    await fold_in(view, asked(ONE, parameters={}), told(attempt_ended(ONE, message="ä")), told(attempt_ended(ONE, 2)))
    found = await view.find(ONE)

    assert found is not None
    assert [(attempt.number, attempt.message, attempt.reason) for attempt in found.earlier] == [
        (1, "ä", Reason.EXIT_CODE),
        (2, None, Reason.EXIT_CODE),
    ]
    assert (found.attempt, found.retry_at) == (3, found.earlier[-1].retry_at)
    last = found.earlier[-1]
    assert await view.to_retry(10) == [ToRetry(ONE, 3, last.retry_at, last.ended_at)]


async def test_m8_those_that_wait_are_named_by_their_time_until_they_are_queued(view: View) -> None:
    await fold_in(view, asked(ONE), asked(TWO), told(attempt_ended(ONE, 2)), told(attempt_ended(TWO, 1)))
    assert [row.execution_id for row in await view.to_retry(10)] == [TWO, ONE]
    assert [row.execution_id for row in await view.to_retry(1)] == [TWO]
    await fold_in(view, retried(TWO), told(ended(ONE, Status.CANCELLED, attempt=3, exit_code=None)))
    assert await view.to_retry(10) == []


async def test_m8_each_attempt_has_its_own_output_and_the_newest_is_shown(view: View) -> None:
    await fold_in(view, asked(ONE), told(running(ONE)))
    await pour(view, chunk(ONE, 0, b"first "), chunk(ONE, 1, b"try"))
    await fold_in(view, told(attempt_ended(ONE, stdout=in_chunks(9, 2))))
    assert (await view.output(ONE)).stdout == b"first try"

    await fold_in(view, retried(ONE), told(running(ONE, attempt=2)))
    assert (await view.output(ONE)).stdout == b""
    # The two streams are read apart: what is late belongs where it belongs.
    await pour(view, chunk(ONE, 2, b" and late"), chunk(ONE, 0, b"second", attempt=2))
    assert (await view.output(ONE)).stdout == b"second"
    assert await view.output(ONE, 1) == Output(stdout=b"first try and late", complete=True)
    assert await view.output(ONE, 2) == Output()

    await fold_in(view, told(ended(ONE, attempt=2, started_at=attempt_ended(ONE).started_at, stdout=in_chunks(6, 1))))
    assert await view.output(ONE) == Output(stdout=b"second", complete=True)


async def test_m8_output_inside_the_event_of_an_attempts_end_stays_with_that_attempt(view: View) -> None:
    await fold_in(view, asked(ONE), told(attempt_ended(ONE, stdout=inline("one\n"), lines_before="before one\n")))
    assert (await view.output(ONE)).stdout == b"one\n"
    assert (await view.output(ONE)).before == b"before one\n"
    second = ended(ONE, attempt=2, started_at=attempt_ended(ONE).started_at, stdout=inline("two\n"), lines_after="after two\n")
    await fold_in(view, told(second))
    shown = await view.output(ONE)
    assert (shown.before, shown.stdout, shown.after, shown.complete) == (b"", b"two\n", b"after two\n", True)


async def test_m8_where_the_last_attempt_was_never_started_the_output_before_it_and_its_own_lines_are_shown(view: View) -> None:
    await fold_in(view, asked(ONE), told(attempt_ended(ONE, stdout=inline("one\n"), lines_before="before one\n")))
    last = ended(ONE, Status.FAILED, attempt=2, exit_code=None, reason=Reason.IMAGE_PULL_FAILED, lines_before="no image\n")
    await fold_in(view, told(last))
    shown = await view.output(ONE)
    assert (shown.before, shown.stdout, shown.complete) == (b"no image\n", b"one\n", True)
    assert await view.is_output_complete(ONE)


async def test_m8_an_execution_is_counted_once_by_how_its_last_attempt_ended(view: View) -> None:
    attempts = (
        told(attempt_ended(ONE)),
        retried(ONE),
        told(running(ONE, attempt=2)),
        told(attempt_ended(ONE, 2)),
        retried(ONE, 3),
    )
    await fold_in(view, asked(ONE), told(running(ONE)))
    for record in attempts:
        await fold_in(view, record)
        assert (await view.statistics()).total == 1
    await fold_in(view, told(ended(ONE, attempt=3)))
    statistics = await view.statistics()
    assert {status: programs for status, programs in statistics.by_status.items() if programs} == {
        Status.COMPLETED: {"prog": 1}
    }


async def test_m8_transitions_of_attempts_are_there_for_the_announcer(view: View) -> None:
    await fold_in(view, asked(ONE, reply_to="reply.x"), told(attempt_ended(ONE)), retried(ONE), told(ended(ONE, attempt=2)))
    found = await view.transitions_after(None, 10)
    assert [(transition.key, transition.message.id, transition.reply_to) for transition in found] == [
        ("execution.queued.prog", f"{ONE}:1:0", None),
        ("execution.attempt_ended.prog", f"{ONE}:1:attempt_ended", None),
        ("execution.queued.prog", f"{ONE}:2:0", None),
        ("execution.completed.prog", f"{ONE}:end", "reply.x"),
    ]


async def test_m8_m3_a_follower_sees_all_of_an_attempt_before_it_is_led_to_the_next(view: View) -> None:
    await fold_in(view, asked(ONE), told(running(ONE)), told(attempt_ended(ONE, stdout=in_chunks(3, 1))))
    sight = await view.sight(ONE, Place())
    assert sight is not None
    assert not sight.complete, "the piece that the end counts is still to come"
    await pour(view, chunk(ONE, 0, b"one"))
    sight = await view.sight(ONE, Place())
    assert sight is not None
    assert sight.pieces == (Piece(OUT, 0, b"one"),)
    sight = await view.sight(ONE, Place().after(sight.pieces[0]))
    assert sight is not None
    assert sight.complete


async def test_m8_m3_a_follower_does_not_wait_for_what_never_comes_longer_than_the_pause(view: View) -> None:
    await fold_in(view, asked(ONE), told(attempt_ended(ONE, stdout=in_chunks(3, 1))), retried(ONE))
    sight = await view.sight(ONE, Place())
    assert sight is not None
    assert sight.complete


async def test_m8_m3_a_follower_sees_what_came_inside_the_event_of_an_attempts_end(view: View) -> None:
    await fold_in(view, asked(ONE), told(attempt_ended(ONE, stdout=inline("one\n"))), told(running(ONE, attempt=2)))
    sight = await view.sight(ONE, Place())
    assert sight is not None
    assert sight.pieces == (Piece(OUT, 0, b"one\n"),)
    sight = await view.sight(ONE, Place(attempt=2))
    assert sight is not None
    assert sight.pieces == ()


async def told_to_a_follower(view: View, place: Place) -> list[tuple[str, str]]:
    """Name of each event from a place on, with what output says."""
    found = []
    async for events in Followers(view, Endings(view), output_grace_seconds=0.05).follow(ONE, place):
        for block in events.decode().strip().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            found.append((fields["event"], json.loads(fields["data"])["data"].get("content", "")))
    return found


async def test_m8_m3_a_follower_hears_of_each_attempt_with_its_output_and_of_the_end_once(view: View) -> None:
    ends = [told(attempt_ended(ONE, number, stdout=inline(f"try {number}"))) for number in (1, 2)]
    start = attempt_ended(ONE).started_at
    await fold_in(view, asked(ONE), *ends, told(ended(ONE, attempt=3, started_at=start, stdout=inline("try 3"))))

    assert await told_to_a_follower(view, Place()) == [
        ("output", "try 1"),
        ("attempt_ended", ""),
        ("output", "try 2"),
        ("attempt_ended", ""),
        ("output", "try 3"),
        ("completed", ""),
    ]
    assert await told_to_a_follower(view, Place(attempt=3)) == [("output", "try 3"), ("completed", "")]
