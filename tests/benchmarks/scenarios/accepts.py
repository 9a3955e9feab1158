"""How many executions a gateway accepts in a second, each with its token checked, validated, and confirmed by the bus; and the
same gateway where accepting tells the bus nothing. No runner is there. The load comes from a process on the same cores.
"""

import asyncio
import json
import subprocess
import sys
from contextlib import AsyncExitStack

from tests.benchmarks.bench import Bench
from tests.benchmarks.client import Client
from tests.benchmarks.hubs import BenchHub
from tests.benchmarks.interleaving import turns
from tests.benchmarks.processes import until_quiet
from tests.support.hub_process import ROOT

NAME = "accepts"
KEYS = ("gateway_accept",)

#: Kind → what is left out of it.
_KINDS = {"ours": "", "no_publish": "publish", "ours_alone": "projector"}
_CONNECTIONS = 32
_SECONDS, _WARM_UP_SECONDS = 3.0, 1.0
_QUIET_SECONDS = 60.0
#: Share of what was accepted that may be refused beside it.
_MOST_REFUSED = 0.01


async def play(bench: Bench, number: int) -> None:
    """One round: every kind some times, in an order that is drawn."""
    async with AsyncExitStack() as stack:
        hubs, requests = {}, {}
        for kind, without in _KINDS.items():
            url = await asyncio.to_thread(bench.broker.new_vhost_url)
            variables = {"BENCH_WITHOUT": without} if without else {}
            hub = BenchHub(bench.folder / "accepts" / f"{kind}-{number}", parts=("gateway",), bus_url=url, **variables)
            hub.environment["HUB_QUEUE_LENGTH"] = "10000000"
            hub.write_programs(["cold"])
            stack.push_async_callback(asyncio.to_thread, hub.close)
            await asyncio.to_thread(hub.start)
            async with Client(hub) as client:
                requests[kind] = _request(client.token)
            hubs[kind] = hub
            await _load(hub.port, requests[kind], _WARM_UP_SECONDS)
        for turn in turns(list(_KINDS), bench.options.size(3, 1), seed=bench.options.seed * 1000 + number):
            for kind in turn:
                for hub in hubs.values():
                    # What was accepted before is still being projected.
                    await until_quiet(hub.pid("gateway"), within_seconds=_QUIET_SECONDS)
                answers = await _load(hubs[kind].port, requests[kind], _SECONDS)
                accepted = answers.pop("202", 0)
                # A gateway that refuses (because the bus took too long to confirm) answers quickly: that counts for nothing.
                assert sum(answers.values()) <= _MOST_REFUSED * accepted, (kind, accepted, answers)
                bench.record(f"accepts_per_second/{kind}", number, accepted / _SECONDS)


def _request(token: str) -> bytes:
    body = json.dumps({"program_id": "cold", "parameters": {"name": "somebody"}})
    head = (
        "POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


async def _load(port: int, request: bytes, seconds: float) -> dict[str, int]:
    """Answers by status."""
    generator = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.load_generator", str(port), str(_CONNECTIONS), str(seconds)),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    told, _ = await generator.communicate(request)
    answers: dict[str, int] = json.loads(told)
    return answers
