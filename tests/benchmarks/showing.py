"""A run for people: its page and its pictures. ``python -m tests.benchmarks.showing results/bench.json docs/benchmarks``."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.page import page
from tests.benchmarks.plots import draw


def show(told: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write page and pictures; the files."""
    pictures = draw(told, folder)
    path = folder / "results.md"
    path.write_text(page(told, [picture.name for picture in pictures]), encoding="utf-8")
    return [path, *pictures]


if __name__ == "__main__":
    show(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
