"""So many callers, each of whom asks again as soon as its last run has ended: completions a second once the pool is used up."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from tests.benchmarks.bench import Bench
from tests.benchmarks.competitors import aiodocker_run, docker_run
from tests.benchmarks.interleaving import turns
from tests.benchmarks.programs import known_keys, lacking

NAME = "saturation"
KEYS = ("saturated_2", "saturated_8")

#: Callers at a time that have a bar, in every round; the others make the plot, and come in the first round only.
_WITH_A_BAR, _FOR_THE_PLOT = (2, 8), (1, 4, 16)
_PLOTTED = ("docker_run", "ours", "ours_none", "ours_cold")
#: Seconds until what was kept ready is used up, and seconds that count after that.
_WARM_UP_SECONDS = 2.5
_SECONDS, _QUICK_SECONDS = 6, 3

_Loop = Callable[[], Awaitable[object]]


async def play(bench: Bench, number: int) -> None:
    """One round: every kind at every number of callers, in an order that is drawn."""
    loops = await _loops(bench)
    plotted = [(callers, kind) for callers in _FOR_THE_PLOT for kind in loops if kind in _PLOTTED]
    cases = [(callers, kind) for callers in _WITH_A_BAR for kind in loops] + (plotted if number == 1 else [])
    (order,) = turns(cases, 1, seed=bench.options.seed * 1000 + number)
    for callers, kind in order:
        await bench.settle()
        rate = await _rate(loops[kind], callers, bench.options.size(_SECONDS, _QUICK_SECONDS))
        bench.record(f"saturated_{callers}_per_second/{kind}", number, rate)


async def _loops(bench: Bench) -> dict[str, _Loop]:
    hubs = await bench.hubs()
    loops: dict[str, _Loop] = {
        "docker_run": lambda: docker_run(hubs.job_folder),
        "docker_run_none": lambda: docker_run(hubs.job_folder, network="none"),
        "aiodocker": lambda: aiodocker_run(bench.docker, hubs.job_folder),
    }

    def ours(program: str) -> _Loop:
        async def run() -> None:
            answer = await hubs.client.run(program)
            bench.proofs.see(f"saturated {program}", answer.record)

        return run

    known = known_keys()
    for kind, program in (("ours", "warm"), ("ours_none", "warm_none"), ("ours_cold", "cold"), ("ours_cold_none", "cold_none")):
        if (why := lacking(program, known)) is None:
            loops[kind] = ours(program)
        else:
            for callers in (*_WITH_A_BAR, *_FOR_THE_PLOT):
                bench.missing(f"saturated_{callers}_per_second/{kind}", why)
    return loops


async def _rate(run: _Loop, callers: int, seconds: float) -> float:
    """Completions a second, counted in a window that begins after a warm-up."""
    begins = time.monotonic() + _WARM_UP_SECONDS
    ends = begins + seconds
    completed = 0

    async def call() -> None:
        nonlocal completed
        while time.monotonic() < ends:
            await run()
            completed += begins <= time.monotonic() < ends

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())
    return completed / seconds
