"""Eight at once, with a pool of eight that is full: until all of them are done."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from tests.benchmarks.bench import Bench
from tests.benchmarks.competitors import docker_run
from tests.benchmarks.interleaving import turns
from tests.benchmarks.programs import POOL_SIZE, known_keys, lacking

NAME = "burst"
KEYS = ("burst8",)


async def play(bench: Bench, number: int) -> None:
    """One round: some bursts of each kind."""
    hubs = await bench.hubs()

    async def ours(program: str) -> None:
        answer = await hubs.client.run(program)
        bench.proofs.see(f"burst of {program}", answer.record)

    async def theirs() -> None:
        run = await docker_run(hubs.job_folder)
        assert run.exit_code == 0, run.output

    kinds: dict[str, Callable[[], Awaitable[None]]] = {"docker_run": theirs, "cold": lambda: ours("cold")}
    for program in ("warm", "warm_none"):
        if (why := lacking(program, known_keys())) is None:
            kinds[program] = lambda program=program: ours(program)  # type: ignore[misc]
        else:
            bench.missing(f"burst8_ms/{program}", why)
    for turn in turns(list(kinds), bench.options.size(3, 1), seed=bench.options.seed * 1000 + number):
        for kind in turn:
            await bench.settle()
            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for _ in range(POOL_SIZE):
                    group.create_task(_awaited(kinds[kind]()))
            bench.record(f"burst8_ms/{kind}", number, (time.monotonic() - began) * 1000)


async def _awaited(work: Awaitable[None]) -> None:
    await work
