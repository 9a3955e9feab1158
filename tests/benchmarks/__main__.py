"""``python -m tests.benchmarks``: what ``make bench`` runs."""

import asyncio
import sys

from tests.benchmarks.options import parse
from tests.benchmarks.run import run

if __name__ == "__main__":
    sys.exit(asyncio.run(run(parse(sys.argv[1:]))))
