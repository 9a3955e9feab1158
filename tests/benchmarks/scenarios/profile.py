"""Where our time goes: the same executions with every point on their way noted. After the rounds, once."""

import asyncio
from contextlib import AsyncExitStack

from tests.benchmarks.bench import Bench
from tests.benchmarks.client import Client
from tests.benchmarks.hubs import BenchHub
from tests.benchmarks.programs import ENTRIES, SUBPROCESS_POOL, known_keys, lacking
from tests.benchmarks.stages import profile, read_marks

NAME = "profile"
KEYS: tuple[str, ...] = ()

#: Seconds between two executions: until the pool is full again.
_PAUSE_SECONDS = 0.6


async def play(bench: Bench, number: int) -> None:
    """A hub of its own whose processes write marks, and some executions of each program."""
    known = known_keys()
    programs = [program for program in ENTRIES if lacking(program, known) is None]
    url = await asyncio.to_thread(bench.broker.new_vhost_url)
    marks = bench.folder / "marks"
    hub = BenchHub(bench.folder / "profiled", parts=("gateway", "runner"), bus_url=url, BENCH_MARKS=str(marks))
    hub.write_programs(programs)
    exchanged = {"BENCH_MARKS": str(marks), "BENCH_ENGINE": "subprocess", "HUB_POOL": SUBPROCESS_POOL}
    plain = BenchHub(bench.folder / "profiled-plain", parts=("runner",), bus_url=url, **exchanged)
    plain.write_programs(["subprocess"])
    async with AsyncExitStack() as stack:
        for part in (hub, plain):
            bench.instances.append(part.instance)
            stack.push_async_callback(asyncio.to_thread, part.close)
            await asyncio.to_thread(part.start)
        client = await stack.enter_async_context(Client(hub))
        for program in programs:
            await client.run(program)
            spans = {}
            for _ in range(bench.options.size(20, 5)):
                await asyncio.sleep(_PAUSE_SECONDS)
                answer = await client.run(program)
                spans[answer.record["execution_id"]] = (answer.asked_ns, answer.answered_ns)
            stages = profile(read_marks(marks.read_text(encoding="utf-8").splitlines()), spans)
            bench.profiles[program] = [stage.to_json() for stage in stages]
