"""The frames of warm containers, however the streams arrive."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import labels
from runner.belongings import owner_of
from runner.engine import Frame
from runner.steps import Step
from runner.warm_frames import Begin, End, FrameDecoder, nonces_of, without_frames
from runner.warm_plan import WarmPlan
from runner.warm_run import Sighting, WarmRun
from schemas.output import StreamName

NONCES = nonces_of("secret")
READY = b'pyexecutorhub-ready {"memory_bytes":1,"fits":true}\n'
PLAN = WarmPlan(secret="secret", preloaded=False, argv=("python",), env={})


def begin(step: Step = Step.PROGRAM) -> bytes:
    return f"\x1e{NONCES[step]} begin\n".encode()


def end(step: Step = Step.PROGRAM, code: int = 0, kills: int = 0, terms: int = 0) -> bytes:
    return f"\x1e{NONCES[step]} end {code} {kills} {terms}\n".encode()


def pieces(content: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({min(cut, len(content)) for cut in cuts} | {0, len(content)})
    return [content[first:last] for first, last in itertools.pairwise(places)]


def decoded(decoder: FrameDecoder, *parts: bytes) -> list[bytes | Begin | End]:
    """What comes out, with bytes that follow each other as one."""
    out: list[bytes | Begin | End] = []
    found = [each for part in parts for each in decoder.feed(part)]
    for each in (*found, decoder.rest()):
        if isinstance(each, bytes) and out and isinstance(out[-1], bytes):
            out[-1] += each
        elif each != b"":
            out.append(each)
    return out


#: Bytes of a program that look as much like frames as bytes can.
LIKE_FRAMES = st.lists(
    st.sampled_from(
        [
            b"\x1e",
            b"\n",
            b" ",
            b"begin",
            b" end 0 0 0\n",
            NONCES[Step.PROGRAM].encode(),
            NONCES[Step.PROGRAM][:20].encode(),
            b"x",
        ]
    )
    | st.binary(max_size=8)
).map(b"".join)


def has_frame(content: bytes) -> bool:
    found = list(FrameDecoder(NONCES, from_the_start=False).feed(content))
    return any(not isinstance(each, bytes) for each in found)


@given(content=LIKE_FRAMES.filter(lambda content: not has_frame(content)), cuts=st.lists(st.integers(0, 400)))
def test_fault20_a_programs_bytes_are_exact_wherever_the_stream_is_split(content: bytes, cuts: list[int]) -> None:
    written = READY + begin() + content + end(code=3)
    expected = [Begin(Step.PROGRAM), *([content] if content else []), End(Step.PROGRAM, 3, 0, 0)]
    assert decoded(FrameDecoder(NONCES), *pieces(written, cuts)) == expected


@given(cuts=st.lists(st.integers(0, 600)))
def test_steps_follow_each_other_and_what_is_between_them_is_nobodys(cuts: list[int]) -> None:
    written = READY + b"".join(begin(step) + step.value.encode() + end(step) + b"noise" for step in Step)
    expected = [each for step in Step for each in (Begin(step), step.value.encode(), End(step, 0, 0, 0))]
    assert decoded(FrameDecoder(NONCES), *pieces(written, cuts)) == expected


def test_what_is_cut_off_in_the_middle_of_what_might_be_a_frame_is_the_programs() -> None:
    for length in range(1, len(end())):
        assert decoded(FrameDecoder(NONCES), begin() + b"out" + end()[:length]) == [
            Begin(Step.PROGRAM),
            b"out" + end()[:length],
        ]


@pytest.mark.parametrize(
    "forged",
    [
        end().replace(NONCES[Step.PROGRAM].encode(), b"0" * 32),
        end().replace(b"end 0", b"end x"),
        end().replace(b"0 0 0", b"0 0"),
        end().replace(b"0 0 0", b"0 0 0 0"),
        end().replace(b"\n", b"\r\n"),
        end().replace(b"0 0 0", b"9" * 40),
    ],
)
def test_what_is_no_whole_frame_is_output(forged: bytes) -> None:
    assert decoded(FrameDecoder(NONCES), begin() + forged + b"more" + end()) == [
        Begin(Step.PROGRAM),
        forged + b"more",
        End(Step.PROGRAM, 0, 0, 0),
    ]


def test_an_end_is_clean_where_the_agent_knows_all_of_it() -> None:
    assert End(Step.PROGRAM, 127, 0, 0).is_clean
    unclean = [
        End(Step.PROGRAM, 128, 0, 0),
        End(Step.PROGRAM, 0, 1, 0),
        End(Step.PROGRAM, 0, None, 0),
        End(Step.PROGRAM, 0, 0, 1),
    ]
    assert not any(each.is_clean for each in unclean)


def test_a_step_has_ended_once_both_streams_have_told() -> None:
    run = WarmRun(PLAN, "warm-1")
    run.order(Step.PROGRAM)
    assert not run.feed(Frame(StreamName.STDOUT, READY + begin() + b"out" + end(code=7)))
    assert not run.told.is_set()
    # A frame on one stream overtakes what was written to the other.
    assert run.feed(Frame(StreamName.STDERR, begin() + b"err" + end(code=7)))
    assert run.end == End(Step.PROGRAM, 7, 0, 0)
    assert list(run.hand_out()) == [Frame(StreamName.STDOUT, b"out"), Frame(StreamName.STDERR, b"err")]


def test_the_end_of_an_earlier_step_is_not_that_of_this_one() -> None:
    run = WarmRun(PLAN, "warm-1")
    run.order(Step.PROGRAM)
    before = begin(Step.BEFORE) + b"x" + end(Step.BEFORE)
    for stream in StreamName:
        assert not run.feed(Frame(stream, before + begin()))
    assert run.last_start == Step.PROGRAM.value


def sighting(stdout: bytes, stderr: bytes = b"") -> Sighting:
    sight = Sighting(PLAN)
    sight.feed(Frame(StreamName.STDOUT, stdout))
    sight.feed(Frame(StreamName.STDERR, stderr))
    return sight


@given(length=st.integers(0, len(READY)))
def test_m10_nothing_has_begun_where_the_agent_said_no_more_than_that_it_is_ready(length: int) -> None:
    sight = sighting(READY[:length], b"sh: warning\n")
    assert (sight.has_begun, sight.is_whole) == (False, True)


def test_m10_a_log_tells_which_step_was_begun_last() -> None:
    for written, last, has_ended in (
        (READY + begin(Step.BEFORE)[:1], None, False),
        (READY + begin(Step.BEFORE), Step.BEFORE, False),
        (READY + begin(Step.BEFORE) + end(Step.BEFORE), Step.BEFORE, True),
        (READY + begin(Step.BEFORE) + end(Step.BEFORE) + READY + begin() + b"out", Step.PROGRAM, False),
        # Of a flood the oldest is gone: it is in the middle of some step.
        (b"flood", None, False),
        (b"flood" + end(), Step.PROGRAM, True),
    ):
        sight = sighting(written)
        assert (sight.has_begun, sight.last, sight.has_ended) == (True, last, has_ended), written


def test_t9_a_log_that_has_lost_its_beginning_is_not_whole() -> None:
    assert not sighting(b"flood").is_whole
    flood = Sighting(PLAN)
    flood.feed(Frame(StreamName.STDERR, b"x" * 1024**2))
    assert (flood.is_whole, flood.has_begun) == (False, True)


def test_c2_people_see_of_a_warm_containers_log_what_its_program_wrote() -> None:
    written = READY + begin() + b"one\ntwo" + end(code=3)
    assert without_frames(written) == b"one\ntwo"
    mine = b"pyexecutorhub-ready or not\n\x1e begin\n"
    assert without_frames(mine) == mine


def test_m45_a_warm_container_is_owned_by_the_execution_that_it_is_named_for() -> None:
    said = {labels.WARM: "true"}
    assert owner_of(said, "warm-0123") is None
    assert owner_of(said, "01a20afb") == "01a20afb"
