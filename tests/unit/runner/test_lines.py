"""The collector of what is said around a program."""

from hypothesis import given
from hypothesis import strategies as st

from runner.lines import HUB, PIP, Lines
from schemas.events import MAX_LINES


def test_each_line_carries_its_speaker_however_it_arrives() -> None:
    lines = Lines()
    lines.say(HUB, "main.py not found: running run.py")
    for part in (b"Collect", b"ing six\nInst", b"alled\n"):
        lines.add(PIP, part)

    assert lines.text() == "[hub] main.py not found: running run.py\n[pip] Collecting six\n[pip] Installed\n"


def test_whoever_speaks_next_begins_a_line_of_their_own() -> None:
    lines = Lines()
    lines.add(PIP, "half a")
    lines.add(HUB, "whole\n")
    lines.add(PIP, "the end")

    assert lines.text() == "[pip] half a\n[hub] whole\n[pip] the end\n"


def test_nothing_said_is_nothing() -> None:
    lines = Lines()
    lines.add(PIP, "")

    assert lines.text() is None


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    lines = Lines()
    lines.add(PIP, b"caf\xc3")
    lines.add(PIP, b"\xa9 \xff\r50 %\r100 %\n")

    assert lines.text() == "[pip] café \ufffd\r50 %\r100 %\n"


def test_of_too_much_the_first_and_the_last_lines_are_kept_and_the_rest_is_said() -> None:
    lines = Lines(limit=400)
    for number in range(1000):
        lines.say(HUB, f"line {number}")
    text = lines.text() or ""

    kept = text.splitlines()
    assert len(text) <= 400
    assert (kept[0], kept[-1]) == ("[hub] line 0", "[hub] line 999")
    (note,) = [line for line in kept if "left out" in line]
    everything = sum(len(f"[hub] line {number}\n") for number in range(1000))
    assert note == f"[hub] {everything - len(text) + len(note) + 1} bytes of lines were left out here"


@given(st.lists(st.tuples(st.sampled_from([HUB, PIP]), st.binary(max_size=300)), max_size=40))
def test_no_text_is_ever_longer_than_its_limit_and_every_line_has_an_end(said: list[tuple[str, bytes]]) -> None:
    lines = Lines(limit=500)
    for prefix, content in said:
        lines.add(prefix, content)

    text = lines.text()
    assert text is None or (len(text) <= 500 and text.endswith("\n"))


def test_an_event_has_room_for_the_longest_text() -> None:
    lines = Lines()
    lines.add(PIP, b"\xff" * 3 * MAX_LINES)

    assert len(lines.text() or "") <= MAX_LINES
