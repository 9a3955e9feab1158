"""What the view shows to who follows an execution, on real SQLite files."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.messages import StreamName as BusStream
from hub.view import View
from schemas.following import Piece, Place
from schemas.output import StreamName, StreamSummary
from schemas.status import Status
from tests.support.records import asked, chunk, ended, in_chunks, numbered, running, told, uid

ONE = uid(1)
OUT, ERR = StreamName.STDOUT, StreamName.STDERR


@pytest.fixture
async def view(tmp_path: Path) -> AsyncIterator[View]:
    view = View(tmp_path / "view.db")
    await view.open()
    yield view
    await view.close()


async def seen(view: View, place: Place) -> tuple[list[Piece], Place, bool]:
    """Everything from a place on: the pieces, where that leads, and whether it is all."""
    pieces: list[Piece] = []
    while True:
        sight = await view.sight(ONE, place)
        assert sight is not None
        if not sight.pieces:
            return pieces, place, sight.complete
        for piece in sight.pieces:
            pieces.append(piece)
            place = place.after(piece)


async def pour(view: View, *chunks: tuple[int, bytes, StreamName]) -> None:
    position = await view.position(BusStream.OUTPUT)
    records = [chunk(ONE, sequence, content, stream=stream) for sequence, content, stream in chunks]
    await view.apply_output(numbered(*records, start=0 if position is None else position.offset + 1))


async def test_m3_nothing_is_seen_of_what_is_not_known(view: View) -> None:
    assert await view.sight(ONE, Place()) is None


async def test_m3_pieces_come_in_the_order_they_arrived_and_once(view: View) -> None:
    await view.apply_log(numbered(asked(ONE), told(running(ONE))), keep_finished=10)
    await pour(view, (0, b"a", OUT), (0, b"b", ERR), (1, b"c", OUT))
    pieces, place, complete = await seen(view, Place())
    assert [piece.content for piece in pieces] == [b"a", b"b", b"c"]
    assert not complete
    await pour(view, *((number, b"x", OUT) for number in range(2, 40)))
    pieces, place, _ = await seen(view, place)
    assert [piece.sequence for piece in pieces] == list(range(2, 40))
    ending = ended(ONE, stdout=in_chunks(40, 40), stderr=in_chunks(1, 1))
    await view.apply_log(numbered(told(ending), start=2), keep_finished=10)
    assert await seen(view, place) == ([], place, True)


async def test_m3_output_that_came_with_the_ending_goes_on_where_the_follower_was(view: View) -> None:
    await view.apply_log(numbered(asked(ONE), told(running(ONE))), keep_finished=10)
    await pour(view, (0, b"one ", OUT), (1, b"two ", OUT))
    pieces, place, _ = await seen(view, Place())
    ending = ended(
        ONE,
        Status.FAILED,
        stdout=StreamSummary.inline(b"one two three" + b"." * 70_000, chunks=2),
        stderr=StreamSummary.inline(b"oh"),
    )
    await view.apply_log(numbered(told(ending), start=2), keep_finished=10)
    more, _, complete = await seen(view, place)
    assert complete
    assert b"".join(piece.content for piece in pieces + more if piece.stream is OUT) == b"one two three" + b"." * 70_000
    assert [piece.sequence for piece in pieces + more if piece.stream is OUT] == [0, 1, 2, 3]
    assert [piece.content for piece in more if piece.stream is ERR] == [b"oh"]
    # Whoever comes only now gets the same bytes.
    again, _, _ = await seen(view, Place())
    assert b"".join(piece.content for piece in again if piece.stream is OUT) == b"one two three" + b"." * 70_000
