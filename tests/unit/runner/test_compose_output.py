"""Several services' output as one."""

from hypothesis import given
from hypothesis import strategies as st

from runner.compose_output import LONGEST_LINE, PrefixedLines, prefixes
from schemas.output import StreamName

OUT, ERR = StreamName.STDOUT, StreamName.STDERR


def test_beginnings_are_of_one_width_as_up_shows_them_k8() -> None:
    assert prefixes(["web-1", "database-1"]) == {"web-1": b"web-1       | ", "database-1": b"database-1  | "}


def test_lines_are_whole_and_streams_apart_k8() -> None:
    lines = PrefixedLines(b"a | ")
    assert lines.add(OUT, b"one\ntw") == b"a | one\n"
    assert lines.add(ERR, b"err\n") == b"a | err\n"
    assert lines.add(OUT, b"o\n\n") == b"a | two\na | \n"
    assert lines.add(OUT, b"\xff no end") == b""
    assert lines.rest(OUT) == b"a | \xff no end\n"
    assert lines.rest(OUT) == lines.rest(ERR) == b""


def test_a_line_without_an_end_is_not_held_for_ever() -> None:
    lines = PrefixedLines(b"a | ")
    written = lines.add(OUT, b"x" * (LONGEST_LINE + 1))
    assert written == b"a | " + b"x" * LONGEST_LINE + b"\n"
    assert lines.rest(OUT) == b"a | x\n"


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_byte_is_lost_however_the_output_arrives_k8(pieces: list[bytes]) -> None:
    lines = PrefixedLines(b"> ")
    written = b"".join(lines.add(OUT, piece) for piece in pieces) + lines.rest(OUT)
    whole = b"".join(pieces)
    expected = whole if whole.endswith(b"\n") or not whole else whole + b"\n"
    assert written == b"".join(b"> " + line + b"\n" for line in expected.split(b"\n")[:-1])


@given(st.lists(st.integers(0, 2 * LONGEST_LINE), max_size=3), st.lists(st.integers(1, LONGEST_LINE), max_size=6))
def test_m10_lines_are_cut_at_the_same_places_however_they_arrive(lengths: list[int], cuts: list[int]) -> None:
    whole = b"\n".join(b"x" * length for length in lengths)
    at_once, in_pieces = PrefixedLines(b"> "), PrefixedLines(b"> ")
    rest, written = whole, b""
    for cut in cuts:
        written += in_pieces.add(OUT, rest[:cut])
        rest = rest[cut:]
    written += in_pieces.add(OUT, rest) + in_pieces.rest(OUT)
    assert written == at_once.add(OUT, whole) + at_once.rest(OUT)
