"""What people do instead: ``docker run``, and a plain loop over Docker's API. The same file in the same image."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiodocker

from tests.benchmarks.programs import COMMAND, IMAGE

_LIMIT_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the program."""

    took_ms: float
    exit_code: int
    output: str


async def docker_run(folder: Path, *, network: str | None = None) -> Run:
    """``docker run --rm``, on the default bridge or the network that is named."""
    words = ["docker", "run", "--rm", *(["--network", network] if network else [])]
    words += ["--volume", f"{folder}:/workspace", "--workdir", "/workspace", IMAGE, *COMMAND]
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), _LIMIT_SECONDS)
    return Run((time.monotonic() - began) * 1000, process.returncode or 0, output.decode())


async def aiodocker_run(docker: aiodocker.Docker, folder: Path) -> Run:
    """Create, start, wait, read the log, delete: as a loop over aiodocker is written."""
    began = time.monotonic()
    config: dict[str, Any] = {
        "Image": IMAGE,
        "Cmd": list(COMMAND),
        "WorkingDir": "/workspace",
        "HostConfig": {"Binds": [f"{folder}:/workspace"]},
    }
    async with asyncio.timeout(_LIMIT_SECONDS):
        container = await docker.containers.create(config)
        try:
            await container.start()
            ended = await container.wait()
            output = "".join(await container.log(stdout=True, stderr=True))
            took_ms = (time.monotonic() - began) * 1000
        finally:
            await container.delete(force=True)
    return Run(took_ms, int(ended["StatusCode"]), output)
