"""That nothing was left out to be fast: containers, limits, exit codes and output of each kind of program."""

import asyncio
import hashlib
from typing import Any

from aiodocker.exceptions import DockerError

from tests.benchmarks.bench import Bench
from tests.benchmarks.client import Client
from tests.benchmarks.programs import ENTRIES, known_keys, lacking
from tests.support.wait import eventually

NAME = "honesty"
KEYS: tuple[str, ...] = ()

_EXIT_CODE = 7
_STDOUT_BYTES, _STDERR_BYTES = 300_000, 100_000
#: Run by the program in its container: writes more than fits into an event, waits to be looked at, and ends badly.
_THEN = f"""
import sys, time
sys.stdout.write("o" * {_STDOUT_BYTES}); sys.stdout.flush()
sys.stderr.write("e" * {_STDERR_BYTES}); sys.stderr.flush()
time.sleep(2.5)
sys.exit({_EXIT_CODE})
"""
#: What the profile ``standard`` means to Docker, as far as every program has it alike.
_HARDENED: dict[str, Any] = {
    "CapDrop": ["ALL"],
    "CapAdd": None,
    "Privileged": False,
    "SecurityOpt": ["no-new-privileges"],
    "PidsLimit": 256,
    "Memory": 1024**3,
    "MemorySwap": 1024**3,
    "NanoCpus": 500_000_000,
    "PidMode": "",
    "IpcMode": "private",
    "RestartPolicy": "no",
}
_TOGETHER = 12


async def play(bench: Bench, number: int) -> None:
    """Look closely at one run of each kind, and at the containers of a dozen at once."""
    hubs = await bench.hubs()
    known = known_keys()
    for program in (name for name in ENTRIES if name != "subprocess" and lacking(name, known) is None):
        await bench.settle()
        await _look_closely(bench, hubs.client, program)
        await bench.settle()
        await _run_a_dozen(bench, hubs.client, program)


async def _look_closely(bench: Bench, client: Client, program: str) -> None:
    execution_id = await client.api.submit(program, then=_THEN)

    async def container() -> dict[str, Any]:
        try:
            shown: dict[str, Any] = await bench.docker.containers.container(execution_id).show()
            return shown
        except DockerError:
            return {"State": {"Running": False}}

    shown = await eventually(container, lambda shown: bool(shown["State"]["Running"]), within_seconds=30)
    host = shown["HostConfig"]
    seen = {name: host[name] for name in _HARDENED} | {"RestartPolicy": host["RestartPolicy"]["Name"]}
    bench.proofs.expect(f"{program}: hardening as Docker has it", seen, _HARDENED)
    network = ENTRIES[program].get("network", "bridge")
    # A sandbox that is reused for programs without a network is that of a container which has none.
    mode = await _network_mode(bench, host["NetworkMode"])
    bench.proofs.expect(f"{program}: network as Docker has it", mode.replace("default", "bridge"), network)
    record = await client.api.finished(execution_id)
    bench.proofs.expect(f"{program}: exit code", record["exit_code"], _EXIT_CODE)
    first, _, rest = record["output"].partition("\n")
    bench.proofs.expect(f"{program}: fresh container", first.rpartition(" ")[2], "False")
    bench.proofs.expect(f"{program}: all of stdout", _digest(rest.rstrip("\n")), _digest("o" * _STDOUT_BYTES))
    told = record["error"].partition("\n")[0]
    bench.proofs.expect(f"{program}: all of stderr", _digest(told), _digest("e" * _STDERR_BYTES))


async def _network_mode(bench: Bench, mode: str) -> str:
    kind, _, other = mode.partition(":")
    if kind != "container":
        return mode
    return str((await bench.docker.containers.container(other).show())["HostConfig"]["NetworkMode"])


async def _run_a_dozen(bench: Bench, client: Client, program: str) -> None:
    """A dozen at once, which must be a dozen containers."""
    for answer in await asyncio.gather(*(client.run(program) for _ in range(_TOGETHER))):
        bench.proofs.see(f"a dozen of {program}", answer.record)


def _digest(text: str) -> str:
    return f"{len(text)} bytes, {hashlib.sha256(text.encode()).hexdigest()[:16]}"
