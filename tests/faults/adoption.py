"""A runner that is killed again and again while programs run: how soon it has taken all of them up, and whether all is well.

python -m tests.faults.adoption --kills 100 --bus-url amqp://…     prints the figures as JSON; without a bus, the embedded one
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.faults.failpoint_hub import FailpointHub
from tests.support.api import FINISHED
from tests.support.wait import eventually

#: Programs that run at any time.
PROGRAMS = 4
LINES = 300
#: Leaves a line for its start on the host, writes numbers for some seconds, and exits with a code made of its own id.
COUNTS = f"""
import os, sys, time
name = os.environ["EXECUTION_ID"]
with open("/workspace/starts", "a") as starts:
    starts.write(name + "\\n")
for number in range({LINES}):
    print(number, name, flush=True)
    print(-number, file=sys.stderr, flush=True)
    time.sleep(0.03)
raise SystemExit(sum(map(ord, name)) % 100 + 1)
"""


@dataclass
class Adoptions:
    """What came of it."""

    #: Seconds from the start of each process to when it had taken up all that ran.
    seconds: list[float] = field(default_factory=list)
    #: How many were taken up each time.
    adopted: list[int] = field(default_factory=list)
    executions: int = 0

    def figures(self) -> dict[str, Any]:
        """For people and programs."""
        ranked = sorted(self.seconds)
        return {
            "kills": len(ranked),
            "executions": self.executions,
            "adopted": sum(self.adopted),
            "p50_seconds": round(statistics.median(ranked), 3),
            "p99_seconds": round(ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))], 3),
            "max_seconds": round(ranked[-1], 3),
        }


async def kill_again_and_again(hub: FailpointHub, kills: int, *, seed: int, programs: int = PROGRAMS) -> Adoptions:
    """Kill the runner so often, each time with programs under way.

    Raises:
        AssertionError: an execution did not end as it must, once, with all its output.
    """
    await hub.add_program("counts", COUNTS)
    chance = random.Random(seed)
    found = Adoptions()
    await hub.have(hub.runner)
    submitted: list[str] = []
    for _ in range(kills):
        under_way = [each for each in submitted[-2 * programs :] if (await hub.record(each))["status"] not in FINISHED]
        submitted += [await hub.submit("counts", str(uuid4())) for _ in range(programs - len(under_way))]
        for each in submitted[-programs:]:
            await hub.has_started(each)
        await asyncio.sleep(chance.uniform(0.0, 0.5))  # how long it lives, not something to wait for
        hub.kill(hub.runner)
        seconds, adopted = await _comes_back(hub)
        if adopted:
            found.seconds.append(seconds)
            found.adopted.append(adopted)
    for each in submitted:
        await hub.finished(each)
    for each in submitted:
        await _is_as_it_must_be(hub, each)
    found.executions = len(submitted)
    return found


async def _comes_back(hub: FailpointHub) -> tuple[float, int]:
    """Seconds from the start of the new process until it had taken up all that ran, and how many those were."""
    claims, _ = await asyncio.to_thread(hub.journal)
    place, began = len(hub.runner.log()), time.time()
    hub.runner.launch()
    if claims == 0:  # all had ended just before
        return 0.0, 0

    async def adopted() -> tuple[float, int] | None:
        return _adopted(hub.runner.log()[place:], began)

    found = await eventually(adopted, within_seconds=60)
    assert found is not None
    return found


def _adopted(log: str, began: float) -> tuple[float, int] | None:
    """The same by what was logged; ``None`` where that is not all yet."""
    wanted, came = None, []
    for line in _lines(log):
        if line.get("action") == "recovery":
            wanted = line["to_take_up"]
        elif line.get("action") == "execution_adopted":
            came.append(datetime.fromisoformat(line["timestamp"]).timestamp())
    if wanted is None or len(came) < wanted:
        return None
    return max(came, default=began) - began, wanted


def _lines(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        if line.startswith("{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue  # it is just being written


async def _is_as_it_must_be(hub: FailpointHub, execution_id: str) -> None:
    record = await hub.is_whole(execution_id, "counts")
    assert (record["status"], record["exit_code"]) == ("failed", sum(map(ord, execution_id)) % 100 + 1), record
    assert record["output"] == "".join(f"{number} {execution_id}\n" for number in range(LINES)), record
    errors = "".join(f"{-number}\n" for number in range(LINES))
    assert record["error"].startswith(errors), record


async def _main(kills: int, bus_url: str, seed: int, programs: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with FailpointHub(Path(folder), bus_url).opened() as hub:
            found = await kill_again_and_again(hub, kills, seed=seed, programs=programs)
    sys.stdout.write(json.dumps({"bus": bus_url.partition(":")[0], "seed": seed, **found.figures()}) + "\n")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--bus-url", default="embedded")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=int, default=PROGRAMS)
    options = parser.parse_args()
    sys.exit(asyncio.run(_main(options.kills, options.bus_url, options.seed, options.programs)))
