"""Output of any bytes in any pieces, followed live, and read from Docker's log by a runner that came later."""

from pathlib import Path

import pytest

from schemas.output import StreamName
from schemas.status import Status
from tests.integration.runner.conftest import MakeHub, docker_instance, engine, hub, identity, python_image
from tests.support import odd_pieces
from tests.support.odd_pieces import odd_pieces as pieces_of
from tests.support.wait import eventually

__all__ = ["docker_instance", "engine", "hub", "identity", "python_image"]
pytestmark = pytest.mark.docker

_WRITES = """
import os
out, err = odd_pieces(1), odd_pieces(2)
while out or err:
    for descriptor, pieces in ((1, out), (2, err)):
        if pieces:
            piece = pieces.pop(0)
            while piece:
                piece = piece[os.write(descriptor, piece):]
"""


@pytest.mark.parametrize("adopted", [False, True], ids=["live", "from Docker's log"])
async def test_fault20_t7_t8_random_bytes_in_odd_pieces_are_kept_to_the_byte_on_their_own_streams(
    hub: MakeHub, adopted: bool
) -> None:
    around = hub(Path(odd_pieces.__file__).read_text(encoding="utf-8") + _WRITES)
    if adopted:
        async with around.crashing_runner():
            execution_id = await around.submit()
            await around.is_running(execution_id)
        # A process that is gone has no connections.
        await around.engine.close()

        async def is_over() -> bool:
            found = await around.engine.find(execution_id)
            return found is not None and found.state.value == "ended"

        await eventually(is_over, within_seconds=60)
    async with around.runner():
        if not adopted:
            execution_id = await around.submit()
        ended = await around.ended(execution_id, within_seconds=60)

    assert ended.status is Status.COMPLETED
    for stream, summary, seed in ((StreamName.STDOUT, ended.stdout, 1), (StreamName.STDERR, ended.stderr, 2)):
        expected = b"".join(pieces_of(seed))
        assert around.output(execution_id, stream) == expected
        assert (summary.total_bytes, summary.kept_bytes, summary.truncated) == (len(expected), len(expected), False)
