"""The output of several services put together again as it was told of before."""

import random

from hypothesis import given
from hypothesis import strategies as st

from runner.compose_merging import Merging
from runner.engine import NO_ORDER, Frame, Order, Share
from runner.output import Capture
from schemas.output import MAX_CHUNK_BYTES, StreamName

OUT, ERR = StreamName.STDOUT, StreamName.STDERR

#: What each of three writers writes, in order.
Written = list[list[tuple[StreamName, bytes]]]
writings = st.lists(
    st.lists(st.tuples(st.sampled_from(StreamName), st.binary(min_size=1, max_size=30)), max_size=12), min_size=3, max_size=3
)


def interleaved(written: Written, chance: random.Random) -> list[tuple[int, StreamName, bytes] | int]:
    """One way in which it may arrive; a bare number is the end of that writer."""
    waiting = {number: list(pieces) for number, pieces in enumerate(written)}
    arriving: list[tuple[int, StreamName, bytes] | int] = []
    while waiting:
        number = chance.choice(sorted(waiting))
        if waiting[number]:
            arriving.append((number, *waiting[number].pop(0)))
        else:
            arriving.append(number)
            del waiting[number]
    return arriving


def merged(merging: Merging, arriving: list[tuple[int, StreamName, bytes] | int]) -> list[Frame]:
    """All frames that come out."""
    frames: list[Frame] = []
    for each in arriving:
        frames += merging.end(each) if isinstance(each, int) else merging.add(*each)
    return frames


def content(frames: list[Frame], stream: StreamName, source: int | None = None) -> bytes:
    """What one stream had, or one writer of it."""
    return b"".join(frame.content for frame in frames if frame.stream is stream and (source is None or frame.source == source))


@given(writings, st.randoms(use_true_random=False), st.integers(0, 400))
def test_m10_what_was_published_comes_first_in_its_order_and_no_byte_is_lost_or_comes_twice(
    written: Written, chance: random.Random, published_bytes: int
) -> None:
    first = merged(Merging(NO_ORDER, range(3)), interleaved(written, chance))
    order: Order = {
        stream: [
            Share(frame.source or 0, len(frame.content))
            for frame in _cut([frame for frame in first if frame.stream is stream], published_bytes)
        ]
        for stream in StreamName
    }
    again = merged(Merging(order, range(3)), interleaved(written, chance))
    for stream in StreamName:
        assert content(again, stream)[:published_bytes] == content(first, stream)[:published_bytes]
        for source in range(3):
            assert content(again, stream, source) == content(first, stream, source)


def _cut(frames: list[Frame], size_bytes: int) -> list[Frame]:
    left, kept = size_bytes, []
    for frame in frames:
        if left > 0:
            kept.append(Frame(frame.stream, frame.content[:left], frame.source))
            left -= len(frame.content)
    return kept


def test_m10_where_docker_has_dropped_the_beginning_the_rest_still_comes() -> None:
    merging = Merging({OUT: [Share(0, 100), Share(1, 2)]}, range(2))
    assert merged(merging, [(1, OUT, b"bbb"), (0, OUT, b"aaa")]) == [Frame(OUT, b"aaa", 0)]
    assert merged(merging, [0]) == [Frame(OUT, b"bb", 1), Frame(OUT, b"b", 1)]


def test_m10_each_published_piece_says_who_wrote_what_of_it() -> None:
    capture = Capture(limit_bytes=1024**2)
    for source, size in ((0, 10), (0, 5), (1, MAX_CHUNK_BYTES), (2, 7)):
        capture.add(Frame(OUT, b"x" * size, source), now=0.0)
    capture.add(Frame(ERR, b"e", None), now=0.0)
    pieces = [*capture.due(now=1.0), *capture.due(now=2.0)]
    assert [(piece.stream, piece.shares) for piece in pieces] == [
        (OUT, (Share(0, 15), Share(1, MAX_CHUNK_BYTES - 15))),
        (ERR, ()),
        (OUT, (Share(1, 15), Share(2, 7))),
    ]
