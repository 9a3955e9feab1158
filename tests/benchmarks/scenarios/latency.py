"""One at a time: from asking to the terminal record, ours in every way, beside what people do instead."""

from collections.abc import Awaitable, Callable

from tests.benchmarks.bench import Bench, Hubs
from tests.benchmarks.client import Client
from tests.benchmarks.competitors import Run, aiodocker_run, docker_run
from tests.benchmarks.interleaving import turns
from tests.benchmarks.programs import ENTRIES, known_keys, lacking

NAME = "latency"
KEYS = ("warm_p50", "warm_p95", "warm_none_p50", "cold_p50", "preload_p50", "vs_subprocess")

_Variant = Callable[[], Awaitable[float]]


async def play(bench: Bench, number: int) -> None:
    """One round: so many turns, in each of which every variant comes once."""
    hubs = await bench.hubs()
    variants = _variants(bench, hubs)
    for turn in turns(list(variants), bench.options.size(15, 3), seed=bench.options.seed * 1000 + number):
        for name in turn:
            await bench.settle()
            bench.record(f"latency_ms/{name}", number, await variants[name]())


def _variants(bench: Bench, hubs: Hubs) -> dict[str, _Variant]:
    known, folder = known_keys(), hubs.job_folder
    variants: dict[str, _Variant] = {
        "docker_run": lambda: _theirs(docker_run(folder)),
        "docker_run_none": lambda: _theirs(docker_run(folder, network="none")),
        "aiodocker": lambda: _theirs(aiodocker_run(bench.docker, folder)),
    }
    for program in ENTRIES:
        if (why := lacking(program, known)) is not None:
            bench.missing(f"latency_ms/{program}", why)
            continue
        variants[program] = _ours(bench, hubs, hubs.client, program, program)
    for program in ("warm", "cold"):
        if program in variants:
            variants[f"embedded_{program}"] = _ours(bench, hubs, hubs.embedded_client, program, f"embedded_{program}")
    return variants


def _ours(bench: Bench, hubs: Hubs, client: Client, program: str, name: str) -> _Variant:
    async def run() -> float:
        answer = await client.run(program)
        if program != "subprocess":  # which has no container to prove anything of
            bench.proofs.see(name, answer.record, is_told_of=client is hubs.client)
        return answer.took_ms

    return run


async def _theirs(running: Awaitable[Run]) -> float:
    run = await running
    assert run.exit_code == 0, run.output
    assert run.output.strip().endswith(" False"), run.output
    return run.took_ms
