import asyncio
import tracemalloc
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.engine import Frame
from runner.output import FLUSH_SECONDS, Capture, Piece, pump
from schemas.output import INLINE_OUTPUT_BYTES, MAX_CHUNK_BYTES, StreamName

OUT, ERR = StreamName.STDOUT, StreamName.STDERR
FRAMES = st.lists(st.builds(Frame, st.sampled_from(StreamName), st.binary(max_size=300)), max_size=30)


def joined(pieces: list[Piece], stream: StreamName) -> bytes:
    mine = [piece for piece in pieces if piece.stream is stream]
    assert [piece.sequence for piece in mine] == list(range(len(mine)))
    assert all(0 < len(piece.content) <= MAX_CHUNK_BYTES for piece in mine)
    return b"".join(piece.content for piece in mine)


@settings(deadline=None)
@given(frames=FRAMES, ticks=st.lists(st.booleans(), min_size=30, max_size=30), limit=st.integers(1, 3000))
def test_fault20_whatever_the_frames_everything_up_to_the_limit_is_kept_exactly(
    frames: list[Frame], ticks: list[bool], limit: int
) -> None:
    capture = Capture(limit)
    now, pieces = 0.0, []
    for frame, tick in zip(frames, ticks, strict=False):
        capture.add(frame, now)
        now += FLUSH_SECONDS if tick else 0.0
        pieces += capture.due(now)
    rest, out, err = capture.finish()

    for stream, summary in ((OUT, out), (ERR, err)):
        written = b"".join(frame.content for frame in frames if frame.stream is stream)
        tail = min(limit // 2, 1024 * 1024)
        kept = written if len(written) <= limit else written[: limit - tail] + written[len(written) - tail :]
        assert summary.content_bytes() == kept
        assert (summary.total_bytes, summary.kept_bytes, summary.truncated) == (len(written), len(kept), len(written) > limit)
        assert summary.chunks == sum(piece.stream is stream for piece in pieces + rest)
        if pieces:
            assert joined(pieces + rest, stream) == kept
        else:
            assert rest == []


def test_output_that_ends_before_the_first_flush_travels_in_the_summary_alone() -> None:
    capture = Capture(10_000_000)
    capture.add(Frame(OUT, b"hello"), 0.0)
    assert capture.due(FLUSH_SECONDS / 2) == []
    pieces, out, err = capture.finish()
    assert (pieces, out.content, out.chunks, err.content) == ([], "hello", 0, "")


def test_long_output_travels_in_full_pieces_only() -> None:
    capture = Capture(10_000_000)
    capture.add(Frame(OUT, b"x" * (3 * MAX_CHUNK_BYTES + 1)), 0.0)
    early = capture.due(0.0)
    assert [len(piece.content) for piece in early] == [MAX_CHUNK_BYTES] * 3
    rest, out, err = capture.finish()
    assert [len(piece.content) for piece in rest] == [1]
    assert (out.content, out.chunks, err.content) == (None, 4, None)


def test_both_streams_together_decide_what_is_short() -> None:
    half = INLINE_OUTPUT_BYTES // 2
    for extra, is_inline in ((0, True), (1, False)):
        capture = Capture(10_000_000)
        capture.add(Frame(OUT, b"o" * half), 0.0)
        capture.add(Frame(ERR, b"e" * (half + extra)), 0.0)
        _, out, err = capture.finish()
        assert (out.content is not None, err.content is not None) == (is_inline, is_inline)


def test_a_waiting_byte_is_due_after_the_flush_time_and_not_before() -> None:
    capture = Capture(1000)
    assert capture.seconds_until_due(0.0) is None
    capture.add(Frame(OUT, b"a"), 5.0)
    capture.add(Frame(OUT, b"b"), 5.05)
    assert capture.seconds_until_due(5.05) == pytest.approx(FLUSH_SECONDS - 0.05)
    assert [piece.content for piece in capture.due(5.0 + FLUSH_SECONDS)] == [b"ab"]
    assert capture.seconds_until_due(6.0) is None


def test_fault19_memory_stays_flat_in_a_flood_and_the_counts_are_exact_t9() -> None:
    block, blocks = b"x" * 32768, 8000
    capture = Capture(10 * 1024**2)
    tracemalloc.start()
    try:
        published = 0
        for number in range(blocks):
            capture.add(Frame(OUT, block), number * 0.001)
            published += sum(len(piece.content) for piece in capture.due(number * 0.001))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    rest, out, _ = capture.finish()
    assert peak < 4 * 1024**2
    assert (out.total_bytes, out.kept_bytes, out.truncated) == (len(block) * blocks, 10 * 1024**2, True)
    assert published + sum(len(piece.content) for piece in rest) == out.kept_bytes


async def frames_of(*frames: Frame | float) -> AsyncGenerator[Frame, None]:
    for frame in frames:
        if isinstance(frame, float):
            await asyncio.sleep(frame)
        else:
            yield frame


async def test_the_pump_publishes_while_the_program_is_silent() -> None:
    published: list[Piece] = []

    async def publish(piece: Piece) -> None:
        published.append(piece)

    await pump(frames_of(Frame(OUT, b"a"), FLUSH_SECONDS * 2, Frame(OUT, b"b")), capture := Capture(1000), publish)
    assert [piece.content for piece in published] == [b"a"]
    rest, out, _ = capture.finish()
    assert [piece.content for piece in rest] == [b"b"]
    assert out.content == "ab"


async def test_while_publishing_takes_its_time_nothing_is_read() -> None:
    taken = 0

    async def flood() -> AsyncGenerator[Frame, None]:
        nonlocal taken
        while True:
            taken += 1
            yield Frame(OUT, b"x" * MAX_CHUNK_BYTES)
            await asyncio.sleep(0)

    async def never(piece: Piece) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(pump(flood(), Capture(10**9), never))
    await asyncio.sleep(0.05)
    assert taken == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_a_failed_publish_ends_the_pump_with_its_error() -> None:
    async def fail(piece: Piece) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await pump(frames_of(Frame(OUT, b"x" * MAX_CHUNK_BYTES)), Capture(10**9), fail)


def test_t9_what_may_have_been_dropped_is_told_as_cut_however_much_came() -> None:
    capture = Capture(1000)
    capture.add(Frame(OUT, b"the end"), 0.0)
    _, out, err = capture.finish(lacks_some=True)
    assert (out.truncated, err.truncated, out.content) == (True, True, "the end")
