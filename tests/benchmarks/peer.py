"""A peer's two processes: started, asked, ended."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.hub_process import ROOT

#: Peer → the words after ``python -m`` of its worker: one process, one handler at a time.
WORKERS: dict[str, tuple[str, ...]] = {
    "ours": ("tests.benchmarks.peers.ours_peer", "worker"),
    "aio_pika": ("tests.benchmarks.peers.aio_pika_peer", "worker"),
    "aio_pika_classic": ("tests.benchmarks.peers.aio_pika_peer", "worker"),
    "celery": ("celery", "-A", "tests.benchmarks.peers.celery_peer", "worker", "--concurrency", "1", "--loglevel", "WARNING"),
    "dramatiq": ("dramatiq", "tests.benchmarks.peers.dramatiq_peer:broker", "--processes", "1", "--threads", "1"),
    "taskiq": ("taskiq", "worker", "tests.benchmarks.peers.taskiq_peer:broker", "--workers", "1", "--log-level", "WARNING"),
    "faststream": ("faststream", "run", "tests.benchmarks.peers.faststream_peer:app", "--log-level", "warning"),
}
_STOP_SECONDS = 10.0
_ANSWER_SECONDS = 180.0
#: Characters of a log that are shown where a peer gave up.
_LOG_SHOWN = 2000


@dataclass
class Peer:
    """One of them, running."""

    name: str
    sender: asyncio.subprocess.Process
    #: What both have printed.
    log: Path

    async def send(self, count: int) -> dict[str, list[float]]:
        """Send so many messages one by one; by kind, the milliseconds of each.

        Raises:
            AssertionError: the sender gave up.
        """
        assert self.sender.stdin is not None
        assert self.sender.stdout is not None
        self.sender.stdin.write(f"{count}\n".encode())
        await self.sender.stdin.drain()
        line = await asyncio.wait_for(self.sender.stdout.readline(), _ANSWER_SECONDS)
        assert line, f"the sender of {self.name} ended: {self.log.read_text(encoding='utf-8')[-_LOG_SHOWN:]}"
        told: dict[str, list[float]] = json.loads(line)
        return told


@asynccontextmanager
async def opened(name: str, url: str, folder: Path) -> AsyncIterator[Peer]:
    """Worker and sender of a peer inside the context. What they print goes into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BENCH_AMQP_URL": url,
        "BENCH_QUEUE_TYPE": "classic" if name.endswith("classic") else "quorum",
        "BENCH_STATE_DIR": str(folder),
    }
    module = f"tests.benchmarks.peers.{name.removesuffix('_classic')}_peer"
    with (folder / f"{name}.log").open("ab") as log:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *WORKERS[name],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Its children are ended with it.
            start_new_session=True,
        )
        sender = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Peer(name, sender, folder / f"{name}.log")
    finally:
        for process in (sender, worker):
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    if process.returncode is None:
        process.terminate()
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    finally:
        # Whatever is left of its session: a worker that did not obey, or children of it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
