"""What is asked for on the command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """One run."""

    rounds: int
    #: Names of scenarios, or keys of figures that they feed; empty for all.
    only: tuple[str, ...]
    quick: bool
    results: Path
    #: Where plots go; ``None`` for none.
    plots: Path | None
    seed: int
    backlog: int
    #: Minutes after which nothing more is begun, and what is under way is broken off.
    minutes: float

    def size(self, usual: int, quick: int) -> int:
        """How many, by how much time there is."""
        return quick if self.quick else usual


def parse(words: Sequence[str]) -> Options:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each with everything in it (default 3)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a scenario, or the key of a figure; again for more"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few samples and a short backlog: to see that it works, not for figures"
    )
    parser.add_argument("--results", type=Path, default=Path("results/bench.json"), help="file of the results")
    parser.add_argument("--plots", type=Path, default=Path("docs/benchmarks"), help="folder of the plots")
    parser.add_argument("--no-plots", action="store_true")
    parser.add_argument("--seed", type=int, default=1, help="of the order within each turn")
    parser.add_argument("--backlog", type=int, default=None, help="executions that are queued for the memory figure")
    parser.add_argument("--minutes", type=float, default=40.0, help="after which whatever is left is left out (default 40)")
    asked = parser.parse_args(words)
    if asked.rounds < 1:
        parser.error("--rounds must be at least 1")
    names = tuple(name for part in asked.only for name in part.split(",") if name)
    return Options(
        rounds=asked.rounds,
        only=names,
        quick=asked.quick,
        results=asked.results,
        plots=None if asked.no_plots else asked.plots,
        seed=asked.seed,
        minutes=asked.minutes,
        backlog=asked.backlog or (50_000 if asked.quick else 1_000_000),
    )
