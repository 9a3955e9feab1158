import struct

from hypothesis import given
from hypothesis import strategies as st

from runner.docker_output import FrameParser
from runner.engine import Frame
from schemas.output import StreamName

NUMBERS = {StreamName.STDOUT: 1, StreamName.STDERR: 2}


@given(
    frames=st.lists(st.builds(Frame, st.sampled_from(StreamName), st.binary(max_size=50)), max_size=20),
    cuts=st.lists(st.integers(1, 20), min_size=1, max_size=200),
)
def test_frames_are_put_together_wherever_the_stream_is_split(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(struct.pack(">BxxxL", NUMBERS[frame.stream], len(frame.content)) + frame.content for frame in frames)
    parser = FrameParser()
    seen: list[Frame] = []
    while stream:
        cut = cuts.pop() if cuts else len(stream)
        seen += parser.feed(stream[:cut])
        stream = stream[cut:]
    assert seen == frames
