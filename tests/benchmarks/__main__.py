"""``python -m tests.benchmarks``: what ``make bench`` runs."""

import asyncio
import signal
import sys

from hub.event_loop import EventLoop
from hub.event_loop import run as run_on_loop
from tests.benchmarks.options import Options, parse
from tests.benchmarks.run import run

#: What the shell sees of a run that somebody ended.
_ENDED = 130


async def _main(options: Options) -> int:
    """Run it; whoever ends it, nothing of it is left."""
    running = asyncio.create_task(run(options), name="benchmark")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        return _ENDED


if __name__ == "__main__":
    sys.exit(run_on_loop(_main(parse(sys.argv[1:])), EventLoop.AUTO))
