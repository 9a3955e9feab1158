"""One run from its start to its report."""

import asyncio
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Protocol

from schemas.times import utc_now
from tests.benchmarks.bench import Bench, opened
from tests.benchmarks.interleaving import turns
from tests.benchmarks.machine import describe, load_average
from tests.benchmarks.options import Options
from tests.benchmarks.programs import MARKER
from tests.benchmarks.report import Measurement, document, text
from tests.benchmarks.scenarios import (
    accepts,
    backlog,
    burst,
    honesty,
    idle,
    latency,
    profile,
    projection,
    publish,
    saturation,
)
from tests.benchmarks.verdicts import judge


class Scenario(Protocol):
    """A module of :mod:`tests.benchmarks.scenarios`."""

    NAME: str
    #: Of the figures that it feeds.
    KEYS: tuple[str, ...]

    def play(self, bench: Bench, number: int) -> Awaitable[None]:
        """Measure one round."""


#: Played once, first.
BEFORE: tuple[Any, ...] = (honesty,)
#: Played in each round, in an order that is drawn.
IN_ROUNDS: tuple[Any, ...] = (latency, burst, saturation, publish, accepts, projection, idle)
#: Played once, last: what fills queues, or disturbs others.
AFTER: tuple[Any, ...] = (profile, backlog)


def chosen(scenarios: tuple[Scenario, ...], only: tuple[str, ...]) -> list[Scenario]:
    """Those that were asked for, by their names or by the keys of figures."""
    return [scenario for scenario in scenarios if not only or {scenario.NAME, *scenario.KEYS} & set(only)]


async def run(options: Options) -> int:
    """Measure, write and print; the process's exit status."""
    unknown = set(options.only) - {
        name for scenario in (*BEFORE, *IN_ROUNDS, *AFTER) for name in (scenario.NAME, *scenario.KEYS)
    }
    if unknown:
        sys.stderr.write(f"error: no scenario and no figure is called {', '.join(sorted(unknown))}\n")
        return 2
    told = await _measure(options)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(text(told))
    if options.plots is not None:
        from tests.benchmarks.showing import show

        drawn = show(told, options.plots)
        sys.stdout.write(f"written: {', '.join(str(path) for path in (options.results, *drawn))}\n")
    return 1 if told["honesty"]["offences"] or told["failures"] else 0


async def _measure(options: Options) -> dict[str, Any]:
    began, at, loads = time.monotonic(), utc_now(), [load_average()]
    deadline = began + options.minutes * 60
    try:
        async with opened(options) as bench:
            machine = await describe(bench.docker, bench.broker)
            for scenario in chosen(BEFORE, options.only):
                await _play(scenario, bench, 1, deadline)
            for number, order in enumerate(turns(chosen(IN_ROUNDS, options.only), options.rounds, options.seed), start=1):
                for scenario in order:
                    await _play(scenario, bench, number, deadline)
                loads.append(load_average())
            for scenario in chosen(AFTER, options.only):
                await _play(scenario, bench, 1, deadline)
    finally:
        # The one that runs without a sandbox has left it on this machine.
        Path(MARKER).unlink(missing_ok=True)
    bench.proofs.expect("containers left behind", await asyncio.to_thread(_left_behind, bench), [])
    measurement = Measurement(
        at=at.isoformat(timespec="seconds"),
        took_seconds=time.monotonic() - began,
        rounds=options.rounds,
        quick=options.quick,
        machine=machine,
        load_average=loads,
        series=bench.measured,
        reasons=bench.reasons,
        profiles=bench.profiles,
        honesty=bench.proofs.to_json(),
        failures=bench.failures,
        notes=bench.notes,
    )
    return document(measurement, judge(bench.measured, bench.reasons))


async def _play(scenario: Scenario, bench: Bench, number: int, deadline: float) -> None:
    """One round of one scenario. What breaks in it is told in the report, and the others go on."""
    began = time.monotonic()
    if began > deadline:
        bench.failures.append(f"{scenario.NAME}, round {number}: left out, as the time was up")
        return
    try:
        async with asyncio.timeout(deadline - began):
            await scenario.play(bench, number)
    except TimeoutError:
        bench.failures.append(f"{scenario.NAME}, round {number}: broken off after {time.monotonic() - began:.0f} s")
        sys.stderr.write(traceback.format_exc())
    except Exception:
        trace = traceback.format_exc()
        bench.failures.append(f"{scenario.NAME}, round {number}: {trace.strip().splitlines()[-1]}")
        sys.stderr.write(trace)
    sys.stderr.write(f"{scenario.NAME}, round {number}: {time.monotonic() - began:.0f} s\n")


def _left_behind(bench: Bench) -> list[str]:
    """Containers of the hubs of this run that are still there, a while after all of them were stopped."""
    deadline = time.monotonic() + 10
    left: list[str] = []
    while time.monotonic() < deadline:
        filters = [f"--filter=label=io.pyexecutorhub.instance={instance}" for instance in bench.instances]
        left = [
            name
            for words in filters
            for name in subprocess.run(
                ["docker", "ps", "--all", "--quiet", words], check=True, capture_output=True, text=True
            ).stdout.split()
        ]
        if not left:
            break
        time.sleep(0.2)
    return left
