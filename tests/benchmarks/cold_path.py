"""A cold start through the hub, HTTP to terminal record, against ``docker run --rm`` of the same command.

python -m tests.benchmarks.cold_path --rounds 20                       prints figures as JSON
python -m tests.benchmarks.cold_path --other before=/path/of/a/tree    the same with the hub of another tree beside it

All contenders take turns in every round, in an order drawn anew, so that what else the machine does falls on all alike.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from schemas.programs import Network
from tests.support.api import Api
from tests.support.docker import IMAGE, docker
from tests.support.hub_process import ROOT, HubProcess

#: Runs it once, and raises where it did not do what it was to do.
Contender = Callable[[], Awaitable[None]]

_SAYS = "1\n"
_WARM_UP_ROUNDS = 3


async def interleaved(contenders: Mapping[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Milliseconds that each contender took, round by round; some rounds before do not count."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(_WARM_UP_ROUNDS + rounds):
        for name in random.sample(sorted(contenders), len(contenders)):
            began = time.perf_counter()
            await contenders[name]()
            if number >= _WARM_UP_ROUNDS:
                taken[name].append((time.perf_counter() - began) * 1000)
    return taken


async def measure(
    rounds: int, network: Network, *, bus_url: str = "embedded", trees: Mapping[str, Path] | None = None, **variables: str
) -> dict[str, Any]:
    """Medians and 95th percentiles in milliseconds, and ``docker run``'s divided by each hub's.

    The hub of this tree is ``ours``; ``trees`` are those of others beside it. ``variables`` are for all hubs.
    """
    async with AsyncExitStack() as stack:
        contenders: dict[str, Contender] = {"docker_run": lambda: _docker_run(network)}
        for name, tree in {"ours": ROOT, **(trees or {})}.items():
            hub = _hub(network, bus_url, PYTHONPATH=str(tree), **variables)
            contenders[name] = await stack.enter_async_context(hub)
        taken = await interleaved(contenders, rounds)
    figures = {
        name: {"p50_ms": round(statistics.median(each), 1), "p95_ms": round(_p95(each), 1)} for name, each in taken.items()
    }
    base = figures.pop("docker_run")
    ratios = {
        f"{key}_{which}": round(base[f"{which}_ms"] / each[f"{which}_ms"], 2)
        for key, each in figures.items()
        for which in ("p50", "p95")
    }
    return {"network": network.value, "rounds": rounds, "docker_run": base, **figures, "ratios": ratios}


@asynccontextmanager
async def _hub(network: Network, bus_url: str, **variables: str) -> AsyncIterator[Contender]:
    """A hub in a process of its own, with one program."""
    with tempfile.TemporaryDirectory() as folder:
        hub = HubProcess(Path(folder), bus_url=bus_url)
        hub.environment |= {"HUB_LOG_LEVEL": "INFO", **variables}
        # A tree of before there was a choice has no such key.
        fields = {} if network is Network.BRIDGE else {"network": network.value}
        hub.write_program("says", "print(1)", **fields)
        hub.edit(lambda config: config.update(settings={"docker_image": IMAGE}))
        try:
            await asyncio.to_thread(hub.start)
            async with aiohttp.ClientSession(hub.address) as session:
                api = Api(session)
                await api.log_in()

                async def run() -> None:
                    record = await api.run("says")
                    if (record["status"], record["exit_code"], record["output"]) != ("completed", 0, _SAYS):
                        raise AssertionError(record)

                yield run
        finally:
            await asyncio.to_thread(hub.close)


async def _docker_run(network: Network) -> None:
    options = [] if network is Network.BRIDGE else [f"--network={network.value}"]
    process = await asyncio.create_subprocess_exec(
        *("docker", "run", "--rm", *options, IMAGE, "python", "-c", "print(1)"), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if (process.returncode, out.decode()) != (0, _SAYS):
        raise AssertionError(f"docker run: status {process.returncode}, {out!r}")


def _p95(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.95))]


def main() -> None:
    """Measure by the command line, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--network", choices=[each.value for each in Network], action="append")
    parser.add_argument("--bus-url", default="embedded")
    parser.add_argument("--other", action="append", default=[], metavar="NAME=PATH", help="the hub of another tree besides")
    parser.add_argument("--sandboxes", choices=["auto", "on", "off"], default="auto")
    given = parser.parse_args()
    trees = {name: Path(path) for name, _, path in (other.partition("=") for other in given.other)}
    if not docker("images", "--quiet", IMAGE):
        parser.error(f"the image {IMAGE} is not here: make it with  make images")
    for network in given.network or [each.value for each in Network]:
        figures = asyncio.run(
            measure(given.rounds, Network(network), bus_url=given.bus_url, trees=trees, HUB_NETWORK_SANDBOXES=given.sandboxes)
        )
        sys.stdout.write(json.dumps(figures) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
