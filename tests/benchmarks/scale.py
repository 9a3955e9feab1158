"""A million executions wait, a hundred thousand have ended: what memory, answers and restarts cost then, beside a thousand.

``python -m tests.benchmarks.scale [--bus rabbitmq|embedded] [--queued N] [--finished N]``: a real hub whose engine has no
containers, on a real bus. Prints a table and the same as JSON. A million takes about 6 GB of disk and, on two cores, the better
part of an hour.
"""

import argparse
import asyncio
import json
import random
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp

from tests.benchmarks import filling
from tests.benchmarks.filling import Published
from tests.support.api import Api
from tests.support.broker import OwnBroker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

BusKind = Literal["rabbitmq", "embedded"]

PROGRAMS = [f"scale_{number}" for number in range(20)]
#: Executions that the runner runs, so that it takes nothing more.
SLOTS = 4
#: Where the numbers of executions of each kind begin.
_QUEUED, _FINISHED, _LATER = 0, 10_000_000, 20_000_000
#: Requests of each kind.
_REQUESTS = 200
#: Executions that the runner works off to show its pace.
_WORKED_OFF = 300
#: Executions that both levels hold at least.
FEW = 1_000
#: Seconds that the projector may take for one execution, on a busy machine.
_SECONDS_EACH = 0.02

Figures = dict[str, Any]


def say(**figures: object) -> None:
    """What was seen so far, for whoever waits for the rest."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {json.dumps(figures)}\n")


class ScaleHub:
    """A hub with many programs, all of which sleep for a day: the first ones take its slots, and all others wait."""

    def __init__(self, folder: Path, bus_url: str, *, queued: int, finished: int) -> None:
        parts = ("up",) if bus_url == "embedded" else ("gateway", "runner")
        self.bus_url = bus_url
        self.process = HubProcess(
            folder, parts=parts, bus_url=bus_url, HUB_QUEUE_LENGTH=str(2 * max(queued, FEW)), HUB_LOG_LEVEL="WARNING"
        )
        self.process.module = "tests.benchmarks.fake_hub"
        kept = finished + 10 * _WORKED_OFF
        self._settings = {"max_concurrent_executions": SLOTS, "max_executions": kept, "stop_grace_seconds": 1}
        for name in PROGRAMS:
            self.process.write_program(name, "print('never run')\n")
        self.limit_programs(90_000.0)
        self.parts = parts
        #: Executions that were ever put there.
        self.total = 0
        self.view_path = folder / "state" / "view.db"
        self.bus_dir = folder / "state"

    def limit_programs(self, seconds: float) -> None:
        """How long each may run from now on."""
        self.process.edit(lambda config: config.update(settings=self._settings | {"timeout_seconds": seconds}))

    @asynccontextmanager
    async def user(self) -> AsyncGenerator[Api, None]:
        """Somebody who has logged in."""
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(self.process.address, timeout=timeout) as session:
            api = Api(session)
            await api.log_in()
            yield api

    async def pour(self, messages: Iterable[Published]) -> float:
        """Put messages onto the bus; how many a second. An embedded bus belongs to its process, which is stopped for it."""
        started = time.monotonic()
        if self.bus_url == "embedded":
            if self.process.is_launched:
                await asyncio.to_thread(self.process.stop)
            started = time.monotonic()
            self.bus_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            async with filling.embedded(self.bus_dir) as publish:
                count = await filling.pour(publish, messages)
        else:
            async with filling.rabbitmq(self.bus_url) as publish:
                count = await filling.pour(publish, messages)
        self.total += count
        return count / (time.monotonic() - started)

    def view_bytes(self) -> int:
        """Bytes of the view on the disk."""
        files = (self.view_path, self.view_path.with_name(f"{self.view_path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def rss_bytes(self) -> dict[str, int]:
        """Resident bytes of each process."""
        return {part: self.process.rss_bytes(part) for part in self.parts}


async def caught_up(api: Api, total: int, *, within_seconds: float) -> float:
    """Wait until the view has this many executions; seconds that it took."""
    started = time.monotonic()

    async def seen() -> int:
        found: int = (await api.get("/executions/stats"))["total"]
        return found

    await eventually(seen, lambda found: found >= total, within_seconds=within_seconds, every_seconds=0.1)
    return time.monotonic() - started


def kept_transitions(hub: ScaleHub) -> int:
    """Transitions that the view keeps: those that are not announced yet, and a hundred thousand."""
    with closing(sqlite3.connect(f"{hub.view_path.as_uri()}?mode=ro", uri=True)) as database:
        found: int = database.execute("SELECT count(*) FROM transitions").fetchone()[0]
    return found


async def latencies(api: Api, queued: int, finished: int) -> dict[str, dict[str, float]]:
    """By kind of request: milliseconds, p50 and p99."""
    chance = random.Random(1)
    kinds: dict[str, Callable[[], str]] = {
        "get queued": lambda: f"/executions/{filling.uid(_QUEUED + chance.randrange(queued))}",
        "get finished": lambda: f"/executions/{filling.uid(_FINISHED + chance.randrange(finished))}",
        "list": lambda: "/executions",
        "list queued": lambda: "/executions?status=queued",
        "list failed": lambda: "/executions?status=failed",
        "list cancelled": lambda: "/executions?status=cancelled",
        "list program": lambda: f"/executions?program={chance.choice(PROGRAMS)}",
        "list program failed": lambda: f"/executions?program={chance.choice(PROGRAMS)}&status=failed",
        "list until long ago": lambda: "/executions?until=2001-01-01T00:00:00Z",
        "list failed until long ago": lambda: "/executions?status=failed&until=2001-01-01T00:00:00Z",
        "stats": lambda: "/executions/stats",
        "info": lambda: "/executions/info",
        "concurrent": lambda: "/executions/concurrent",
        "health": lambda: "/health",
    }
    # In turn, so that whatever else the machine does hits all kinds.
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(_REQUESTS):
        for kind, path in kinds.items():
            started = time.perf_counter()
            await api.get(path())
            seconds[kind].append(time.perf_counter() - started)
    return {
        kind: {"p50_ms": 1000 * statistics.median(each), "p99_ms": 1000 * statistics.quantiles(each, n=100)[98]}
        for kind, each in seconds.items()
    }


async def restarted(hub: ScaleHub) -> Figures:
    """Kill the gateway and start it again: seconds until it is ready, and from then until it shows what is new."""
    name = filling.uid(_LATER + hub.total)
    if hub.bus_url == "embedded":
        hub.process.kill()
    else:
        hub.process.send_signal("gateway", signal.SIGKILL)
        await asyncio.to_thread(hub.process.wait, "gateway")
    await hub.pour(filling.commands(_LATER + hub.total, 1, PROGRAMS, SLEEP="86400"))
    ready = await asyncio.to_thread(hub.process.start, part=hub.parts[0], within_seconds=300)
    async with hub.user() as api:
        started = time.monotonic()
        await eventually(lambda: api.call("GET", f"/executions/{name}"), lambda answer: answer[0] == 200, within_seconds=60)
        return {"ready_seconds": ready, "new_seen_after_seconds": time.monotonic() - started}


async def measure(hub: ScaleHub, *, queued: int, finished: int) -> Figures:
    """One level: all that waits and has ended is there already."""
    limit = 60 + hub.total * _SECONDS_EACH
    figures: Figures = {"queued": queued, "finished": finished}
    async with hub.user() as api:
        figures["caught_up_seconds"] = await caught_up(api, hub.total, within_seconds=limit)
        figures["kept_transitions"] = kept_transitions(hub)
        figures["busy_rss_bytes"] = hub.rss_bytes()
        say(**figures)
        figures["latencies"] = await latencies(api, queued, finished)
        figures["rss_bytes"] = hub.rss_bytes()
        figures["view_bytes"] = hub.view_bytes()
        say(**figures)
    figures["restart"] = await restarted(hub)
    say(restart=figures["restart"])
    async with hub.user() as api:
        await latencies(api, queued, finished)
        figures["rss_after_restart_bytes"] = hub.rss_bytes()
        figures["worked_off_a_second"] = await worked_off(hub, api)
    figures["rss_after_work_bytes"] = hub.rss_bytes()
    return figures


async def worked_off(hub: ScaleHub, api: Api) -> float:
    """Let nothing run for longer than a moment, and count what ends in a second."""

    async def timeouts() -> int:
        return sum(entry["total"] for entry in (await api.get("/executions/stats"))["by_status"]["timeout"])

    before = await timeouts()
    hub.limit_programs(0.05)

    async def nudged() -> int:
        # What began before the edit was noticed does not end by itself.
        for execution in (await api.get("/executions/concurrent"))["running_executions"]:
            if execution["duration_seconds"] > 1:
                await api.call("POST", f"/executions/{execution['execution_id']}/cancel")
        return await timeouts()

    begun = await eventually(nudged, lambda seen: seen > before + 10 * SLOTS, within_seconds=60, every_seconds=0.5)
    started = time.monotonic()
    ended = await eventually(timeouts, lambda seen: seen >= begun + _WORKED_OFF, within_seconds=300)
    pace = (ended - begun) / (time.monotonic() - started)
    hub.limit_programs(90_000.0)
    await eventually(lambda: _is_still(timeouts), within_seconds=60)
    return pace


async def _is_still(count: Callable[[], Awaitable[int]]) -> bool:
    before = await count()
    await asyncio.sleep(1)
    return await count() == before


async def scale(kind: BusKind, *, queued: int = 1_000_000, finished: int = 100_000, folder: Path | None = None) -> Figures:
    """Measure with few executions and then with many, on one hub; everything that was seen.

    ``ratios.memory_million`` is the gateway's memory with many queued over that with few.
    """
    with _broker(kind) as bus_url, _folder(folder) as place:
        hub = ScaleHub(place, bus_url, queued=queued, finished=finished)
        try:
            return await _scale(hub, kind, queued=queued, finished=finished)
        finally:
            if hub.process.is_launched:
                hub.process.kill()


async def _scale(hub: ScaleHub, kind: BusKind, *, queued: int, finished: int) -> Figures:
    await asyncio.to_thread(hub.process.start)
    levels: list[Figures] = []
    done_queued = done_finished = 0
    for many_queued, many_finished in ((FEW, FEW), (queued, finished)):
        waiting = filling.commands(_QUEUED + done_queued, many_queued - done_queued, PROGRAMS, SLEEP="86400")
        ended = filling.endings(_FINISHED + done_finished, many_finished - done_finished, PROGRAMS)
        level: Figures = {"commands_a_second": await hub.pour(waiting), "endings_a_second": await hub.pour(ended)}
        done_queued, done_finished = many_queued, many_finished
        say(**level)
        if not hub.process.is_launched:
            level["start_seconds"] = await asyncio.to_thread(hub.process.start, within_seconds=300)
        levels.append(level | await measure(hub, queued=many_queued, finished=many_finished))
    figures: Figures = {"bus": kind, "few": levels[0], "many": levels[1]}
    figures["ratios"] = ratios(figures, hub.parts)
    return figures


def ratios(figures: Figures, parts: tuple[str, ...]) -> dict[str, float]:
    """Many over few."""
    few, many = figures["few"], figures["many"]
    found = {"memory_million": many["rss_bytes"][parts[0]] / few["rss_bytes"][parts[0]]}
    if "runner" in parts:
        found["runner_memory_million"] = many["rss_bytes"]["runner"] / few["rss_bytes"]["runner"]
    for name, each in many["latencies"].items():
        found[f"{name} p99"] = each["p99_ms"] / few["latencies"][name]["p99_ms"]
    return found


def table(figures: Figures) -> str:
    """For people."""
    few, many = figures["few"], figures["many"]
    lines = [
        f"{figures['bus']}: {few['queued']} queued and {few['finished']} finished, then {many['queued']} and {many['finished']}"
    ]

    def line(name: str, small: float, large: float, unit: str) -> None:
        lines.append(f"{name:<42} {small:>12.1f} {large:>12.1f} {unit:<4} {large / small if small else 0:>7.2f}")

    for part in few["rss_bytes"]:
        line(f"memory of {part}", few["rss_bytes"][part] / 2**20, many["rss_bytes"][part] / 2**20, "MiB")
        line(
            f"memory of {part} after a restart",
            few["rss_after_restart_bytes"][part] / 2**20,
            many["rss_after_restart_bytes"][part] / 2**20,
            "MiB",
        )
    for name in few["latencies"]:
        for which in ("p50_ms", "p99_ms"):
            line(f"{name} {which[:3]}", few["latencies"][name][which], many["latencies"][name][which], "ms")
    line("view on the disk", few["view_bytes"] / 2**20, many["view_bytes"] / 2**20, "MiB")
    for name in ("ready_seconds", "new_seen_after_seconds"):
        line(f"restart: {name}", few["restart"][name], many["restart"][name], "s")
    line("caught_up_seconds", few["caught_up_seconds"], many["caught_up_seconds"], "s")
    line("transitions that are kept", few["kept_transitions"], many["kept_transitions"], "")
    line("worked off a second", few["worked_off_a_second"], many["worked_off_a_second"], "")
    return "\n".join(lines)


@contextmanager
def _broker(kind: BusKind) -> Iterator[str]:
    if kind == "embedded":
        yield "embedded"
        return
    broker = OwnBroker()
    try:
        broker.start()
        yield broker.new_vhost_url()
    finally:
        broker.remove()


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="hub-scale-") as made:
        yield Path(made)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bus", choices=("rabbitmq", "embedded"), default="rabbitmq")
    parser.add_argument("--queued", type=int, default=1_000_000)
    parser.add_argument("--finished", type=int, default=100_000)
    arguments = parser.parse_args()
    figures = asyncio.run(scale(arguments.bus, queued=arguments.queued, finished=arguments.finished))
    sys.stdout.write(f"{table(figures)}\n{json.dumps(figures)}\n")


if __name__ == "__main__":
    main()
