"""What a warm container costs while it waits: its processes and the shim that holds it, and their processor time."""

import asyncio

from tests.benchmarks.bench import Bench
from tests.benchmarks.processes import cpu_seconds, parent, pss_bytes
from tests.benchmarks.programs import known_keys, lacking

NAME = "idle"
KEYS = ("warm_mib",)

_SERIES = "warm_mib/container"
#: Label of containers that wait for a job.
_WARM_LABEL = "io.pyexecutorhub.warm"
_LOOK_SECONDS = 5.0


async def play(bench: Bench, number: int) -> None:
    """One round: a look at every warm container."""
    if (why := lacking("warm", known_keys())) is not None:
        bench.missing(_SERIES, why)
        return
    await bench.hubs()
    await bench.settle()
    warm = [listed["Id"] for listed in await bench.containers() if listed["Labels"].get(_WARM_LABEL) == "true"]
    if not warm:
        bench.missing(_SERIES, f"no container with the label {_WARM_LABEL}")
        return
    cpu_before, at_work = 0.0, []
    for container_id in warm:
        container = bench.docker.containers.container(container_id)
        top = await container.top()
        inside = [int(row[top["Titles"].index("PID")]) for row in top["Processes"]]
        shim = parent((await container.show())["State"]["Pid"])
        try:
            bench.record(_SERIES, number, sum(map(pss_bytes, (*inside, shim))) / 1024**2)
        except (PermissionError, FileNotFoundError) as error:
            bench.missing(_SERIES, f"its processes can't be looked at: {error}")
            return
        at_work += [*inside, shim]
    cpu_before = sum(map(cpu_seconds, at_work))
    await asyncio.sleep(_LOOK_SECONDS)
    used = sum(map(cpu_seconds, at_work)) - cpu_before
    bench.record("warm_cpu_ms_per_second/container", number, used * 1000 / _LOOK_SECONDS / len(warm))
