"""One run from its start to its report."""

import json
import sys
import time
import traceback
from collections.abc import Awaitable
from typing import Any, Protocol

from tests.benchmarks.bench import Bench, opened
from tests.benchmarks.interleaving import turns
from tests.benchmarks.options import Options
from tests.benchmarks.report import document, text
from tests.benchmarks.scenarios import accepts, backlog, burst, honesty, idle, latency, profile, projection, publish, saturation


class Scenario(Protocol):
    """A module of :mod:`tests.benchmarks.scenarios`."""

    NAME: str
    #: Of the figures that it feeds.
    KEYS: tuple[str, ...]

    def play(self, bench: Bench, number: int) -> Awaitable[None]:
        """Measure one round."""


#: Played in each round, in an order that is drawn.
IN_ROUNDS: tuple[Any, ...] = (latency, burst, saturation, publish, accepts, projection, idle)
#: Played once, after them: what fills queues, or disturbs others.
ONCE: tuple[Any, ...] = (honesty, profile, backlog)


def chosen(scenarios: tuple[Scenario, ...], only: tuple[str, ...]) -> list[Scenario]:
    """Those that were asked for, by their names or by the keys of figures."""
    return [scenario for scenario in scenarios if not only or {scenario.NAME, *scenario.KEYS} & set(only)]


async def run(options: Options) -> int:
    """Measure, write and print; the process's exit status."""
    began = time.monotonic()
    async with opened(options) as bench:
        for number, order in enumerate(turns(chosen(IN_ROUNDS, options.only), options.rounds, options.seed), start=1):
            for scenario in order:
                await _play(scenario, bench, number)
        for scenario in chosen(ONCE, options.only):
            await _play(scenario, bench, 1)
    told = document(bench, took_seconds=time.monotonic() - began)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(text(told))
    return 0 if not (bench.proofs.offences or bench.failures) else 1


async def _play(scenario: Scenario, bench: Bench, number: int) -> None:
    """One round of one scenario. What breaks in it is told in the report, and the others go on."""
    began = time.monotonic()
    try:
        await scenario.play(bench, number)
    except Exception:
        trace = traceback.format_exc()
        bench.failures.append(f"{scenario.NAME}, round {number}: {trace.strip().splitlines()[-1]}")
        sys.stderr.write(trace)
    sys.stderr.write(f"{scenario.NAME}, round {number}: {time.monotonic() - began:.0f} s\n")
