"""The end of two streams."""

from runner.engine import Frame, Tail
from runner.tail_buffer import TailBuffer
from schemas.output import StreamName


def tail(most_bytes: int, *pieces: tuple[StreamName, bytes]) -> Tail:
    buffer = TailBuffer(most_bytes)
    for stream, content in pieces:
        buffer.feed(Frame(stream, content))
    return buffer.tail()


def test_what_fits_is_kept_byte_for_byte() -> None:
    pieces = ((StreamName.STDOUT, b"a\n"), (StreamName.STDERR, b"\xff"), (StreamName.STDOUT, b"b"))
    assert tail(3, *pieces) == Tail(b"a\nb", b"\xff", truncated=False)


def test_what_does_not_fit_is_cut_in_front_to_whole_lines() -> None:
    assert tail(6, (StreamName.STDOUT, b"one\ntwo\nthree")) == Tail(b"three", b"", truncated=True)
    assert tail(4, (StreamName.STDERR, b"no line breaks")) == Tail(b"", b"eaks", truncated=True)
    # Where the only line break is the last byte, part of a line is better than nothing.
    assert tail(4, (StreamName.STDOUT, b"only the end\n")) == Tail(b"end\n", b"", truncated=True)
