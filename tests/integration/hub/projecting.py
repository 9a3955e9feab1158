"""A process that projects a log into a view until it is killed or done: ``python -m tests.integration.hub.projecting VIEW``."""

import asyncio
import os
import sys
from pathlib import Path

from bus.messages import Record, StreamName
from hub.endings import Endings
from hub.projector import Projector
from hub.view import View
from schemas.status import Status
from tests.support.hub_bus import FakeStreams
from tests.support.records import asked, chunk, ended, in_chunks, running, told, uid
from tests.support.wait import eventually

EXECUTIONS = 1200
KEPT = 300
ENDINGS = (Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.CANCELLED)


def the_log() -> list[Record]:
    """The same log in every process; half of its executions overlap, some records come twice."""
    records: list[Record] = []
    for number in range(EXECUTIONS):
        execution_id = uid(number)
        records += [asked(execution_id, program="key"), told(running(execution_id, program="18"))]
        last = uid(number - number % 2)
        end = told(ended(last, ENDINGS[number % 4], program="18", stdout=in_chunks(3, 1)))
        records += [end, end] if number % 3 else [end]
    return records


def the_output() -> list[Record]:
    """One chunk an execution."""
    return [chunk(uid(number), 0, b"%03d" % (number % 1000), program="18") for number in range(EXECUTIONS)]


async def project(path: Path) -> None:
    """Until the view holds everything."""
    view = View(path)
    await view.open()
    streams = FakeStreams(batch_size=5)
    log, output = the_log(), the_output()
    streams.write(StreamName.LOG, *log)
    streams.write(StreamName.OUTPUT, *output)
    projector = Projector(streams, view, Endings(view), keep_finished=lambda: KEPT, on_transitions=lambda: None)
    task = asyncio.create_task(projector.run())
    # The parent's clock starts here: before it there is nothing to be killed in the middle of.
    os.write(1, b"projecting\n")

    async def is_done() -> bool:
        places = [await view.position(stream) for stream in (StreamName.LOG, StreamName.OUTPUT)]
        return [place and place.offset for place in places] == [len(log) - 1, len(output) - 1]

    await eventually(is_done, within_seconds=60)
    task.cancel()
    await asyncio.wait([task])
    await view.close()


if __name__ == "__main__":
    asyncio.run(project(Path(sys.argv[1])))
