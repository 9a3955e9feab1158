"""An engine of subprocesses without any sandbox: what the same path costs where nothing is isolated."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from runner.belongings import Belonging
from runner.engine import NO_ORDER, ContainerState, Exit, Found, Frame, Order, Prepared, RunningContainer, Spec, Tail
from runner.errors import CannotRun, ContainerGone, OutOfOrder
from runner.fake_engine import FakeEngine
from runner.preparation import NOBODY, Listener
from runner.run_spec import RunSpec
from runner.steps import Step
from schemas.output import StreamName
from schemas.reasons import Reason

_CHUNK_BYTES = 64 * 1024


class _Run:
    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self.process: asyncio.subprocess.Process | None = None


class SubprocessEngine(FakeEngine):
    """Keeps as much of :class:`runner.engine.Engine` as a benchmark needs: nothing survives its process.

    What is not here does nothing, as in the fake one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[str, _Run] = {}

    async def ping(self) -> str:
        """See the contract."""
        return "subprocesses"

    async def data_root(self) -> Path | None:
        """See the contract."""
        return None

    async def prepare(self, spec: Spec, listener: Listener = NOBODY) -> Prepared:
        """See the contract."""
        if not isinstance(spec, RunSpec) or spec.argv is None:
            raise CannotRun(Reason.UNSUPPORTED, "only a file is run as a subprocess")
        self._runs[spec.name] = _Run(spec)
        return Prepared(spec.name)

    async def start(self, name: str, step: Step = Step.PROGRAM, *, exit_code: int = 0) -> None:
        """See the contract."""
        run = self._runs[name]
        assert run.spec.argv is not None
        _, *rest = run.spec.argv
        run.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *rest,
            cwd=run.spec.host_folder,
            env={"PATH": os.environ["PATH"], **run.spec.env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def adopt(self, name: str, plan: str | None = None, order: Order = NO_ORDER) -> None:
        """See the contract."""
        raise ContainerGone(f"{name} ended with its runner")

    async def output(self, name: str) -> AsyncGenerator[Frame, None]:
        """See the contract."""
        process = self._process(name)
        frames: asyncio.Queue[Frame | None] = asyncio.Queue(16)
        readers = [
            asyncio.create_task(_read(reader, stream, frames))
            for stream, reader in ((StreamName.STDOUT, process.stdout), (StreamName.STDERR, process.stderr))
            if reader is not None
        ]
        try:
            left = len(readers)
            while left:
                frame = await frames.get()
                if frame is None:
                    left -= 1
                else:
                    yield frame
        finally:
            for task in readers:
                task.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    def may_lack_output(self, name: str) -> bool:
        """See the contract."""
        return False

    async def wait(self, name: str) -> Exit:
        """See the contract."""
        code = await self._process(name).wait()
        return Exit(code if code >= 0 else 128 - code)

    async def stop(self, name: str, grace_seconds: float) -> None:
        """See the contract."""
        run = self._runs.get(name)
        if run is not None and run.process is not None and run.process.returncode is None:
            run.process.kill()
            await run.process.wait()

    async def destroy(self, name: str) -> None:
        """See the contract."""
        await self.stop(name, 0)
        self._runs.pop(name, None)

    async def find(self, name: str) -> Found | None:
        """See the contract."""
        run = self._runs.get(name)
        if run is None:
            return None
        state = ContainerState.CREATED
        if run.process is not None:
            state = ContainerState.RUNNING if run.process.returncode is None else ContainerState.ENDED
        return Found(name, state, run.spec.labels, "" if run.process is None else "1")

    async def knows_all_starts(self, name: str) -> bool:
        """See the contract."""
        return True

    async def list_ours(self) -> list[Found]:
        """See the contract."""
        return [found for name in list(self._runs) if (found := await self.find(name)) is not None]

    async def belongings(self) -> list[Belonging]:
        """See the contract."""
        return []

    async def remove(self, belonging: Belonging) -> None:
        """See the contract."""

    async def list_running(self) -> list[RunningContainer]:
        """See the contract."""
        return []

    async def tail(self, container_id: str, lines: int, most_bytes: int) -> Tail:
        """See the contract."""
        return Tail(b"", b"", truncated=False)

    async def close(self) -> None:
        """See the contract."""
        for name in list(self._runs):
            await self.destroy(name)

    def _process(self, name: str) -> asyncio.subprocess.Process:
        process = self._runs[name].process
        if process is None:
            raise OutOfOrder(f"{name} was not started")
        return process


async def _read(reader: asyncio.StreamReader, stream: StreamName, frames: "asyncio.Queue[Frame | None]") -> None:
    while content := await reader.read(_CHUNK_BYTES):
        await frames.put(Frame(stream, content))
    await frames.put(None)
