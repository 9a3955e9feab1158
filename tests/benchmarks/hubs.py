"""Hubs under measurement: the processes that users start, on a project folder of the benchmark's own."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.benchmarks.programs import JOB, entry, known_keys
from tests.support.hub_process import HubProcess

#: As users have it, but for what would slow down a burst of eight that two cores could take.
SETTINGS: dict[str, Any] = {"max_concurrent_executions": 32}
#: Room for the pools of all measured programs: by default a runner keeps eight containers ready in all.
_ROOM = {"HUB_WARM_CONTAINERS": "32", "HUB_WARM_MEMORY": "4g"}


class BenchHub(HubProcess):
    """A hub of the benchmark: with variables of :mod:`tests.benchmarks.hub_with` exchanged in part, without them as it is."""

    def __init__(self, folder: Path, *, parts: tuple[str, ...], bus_url: str = "embedded", **variables: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, parts=parts, bus_url=bus_url, **{"HUB_LOG_LEVEL": "INFO", **_ROOM, **variables})
        self.instance = f"bench-{self.instance.removeprefix('test-')}"
        self.environment["HUB_INSTANCE"] = self.instance
        self._exchanged = any(name.startswith("BENCH_") for name in variables)

    def write_programs(self, programs: Iterable[str], **settings: Any) -> None:
        """Put these of the measured programs into the folder, as this version can run them."""
        known = known_keys()
        self.edit_from({"settings": {**SETTINGS, **settings}})
        for program in programs:
            self.write_program(program, JOB, **entry(program, known))

    def launch(self, **variables: str) -> None:
        """Start every part: the product's own command, or the same with something exchanged."""
        module = "tests.benchmarks.hub_with" if self._exchanged else "hub"
        for part in self._parts:
            with (self.folder / f"{part}.log").open("ab") as log:
                self._processes[part] = subprocess.Popen(
                    [sys.executable, "-m", module, part, "--config", str(self.config_path)],
                    env={**self.environment, **variables},
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                )
