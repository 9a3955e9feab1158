"""What all scenarios share: RabbitMQ, hubs, Docker, and the notebook of what was measured."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiodocker

from runner import labels
from tests.benchmarks.client import Client
from tests.benchmarks.hubs import BenchHub
from tests.benchmarks.listening import listening
from tests.benchmarks.options import Options
from tests.benchmarks.programs import ENTRIES, SUBPROCESS_POOL, known_keys, lacking
from tests.benchmarks.proofs import Proofs
from tests.support.broker import OwnBroker

#: Seconds without a change in the number of our containers after which they count as settled.
_STEADY_SECONDS = 2.0
_STEADY_WITHIN_SECONDS = 180.0
_LOOK_AGAIN_SECONDS = 0.03
#: Seconds that a pool may take to be full again before the next one comes all the same.
_SETTLE_SECONDS = 15.0
#: Seconds of rest after that.
_PAUSE_SECONDS = 0.15
_SUBPROCESS = "subprocess"
#: Characters of each log that are shown where the hubs can't be started.
_LOG_SHOWN = 2000


@dataclass
class Bench:
    """One run of the benchmark."""

    options: Options
    folder: Path
    broker: OwnBroker
    docker: aiodocker.Docker
    #: By series, by round.
    measured: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    #: By series: why it was not measured.
    reasons: dict[str, str] = field(default_factory=dict)
    proofs: Proofs = field(default_factory=Proofs)
    #: Where our time goes: by variant, its stages.
    profiles: dict[str, Any] = field(default_factory=dict)
    #: Scenarios that broke, and on what.
    failures: list[str] = field(default_factory=list)
    #: Whatever else is worth knowing.
    notes: dict[str, Any] = field(default_factory=dict)
    #: Instances of the hubs that programs were run on.
    instances: list[str] = field(default_factory=list)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _hub: "Hubs | None" = None
    _has_failed: bool = False
    _expected: int = 0

    def record(self, series: str, round_number: int, *values: float) -> None:
        """Write down what was measured."""
        self.measured.setdefault(series, {}).setdefault(round_number, []).extend(values)

    def missing(self, series: str, why: str) -> None:
        """Write down why something can't be measured."""
        self.reasons[series] = why

    async def hubs(self) -> "Hubs":
        """The hubs that programs are run on; started when they are first wanted, stopped in the end."""
        if self._hub is None:
            if self._has_failed:
                raise RuntimeError("the hubs could not be started")
            self._has_failed = True
            self._hub = await self._stack.enter_async_context(_hubs(self))
            self._expected = self.notes["idle_containers"] = await self._steady(_STEADY_WITHIN_SECONDS)
        return self._hub

    async def settle(self) -> None:
        """Wait until pools are full again and what was used is gone; a short rest after that."""
        self._expected = await self._steady(_SETTLE_SECONDS, self._expected)
        await asyncio.sleep(_PAUSE_SECONDS)

    async def _steady(self, within_seconds: float, expected: int | None = None) -> int:
        """Wait until the number of our containers is the expected one, or changes no more, and all of them run.

        How many there are then: so many there are when nothing happens.
        """
        now = time.monotonic()
        deadline, since, seen = now + within_seconds, now, (-1, False)
        while now < deadline and not (seen[1] and (seen[0] == expected or now - since > _STEADY_SECONDS)):
            states = [listed["State"] for listed in await self.containers()]
            now, before, seen = time.monotonic(), seen, (len(states), set(states) <= {"running"})
            if seen != before:
                since = now
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        # Where it never came to rest, what was expected stands.
        return seen[0] if seen[1] or expected is None else expected

    async def containers(self) -> list[dict[str, Any]]:
        """All containers of our hubs, as Docker lists them."""
        assert self._hub is not None
        found: list[dict[str, Any]] = []
        for hub in (self._hub.rabbit, self._hub.embedded):
            wanted = {"label": [f"{labels.INSTANCE}={hub.instance}"]}
            found += [dict(container._container) for container in await self.docker.containers.list(all=True, filters=wanted)]
        return found


@dataclass
class Hubs:
    """The hubs that programs are run on, and a user of each."""

    #: Gateway and runner over RabbitMQ, as the product starts them.
    rabbit: BenchHub
    client: Client
    #: The same in one process on the embedded bus.
    embedded: BenchHub
    embedded_client: Client

    @property
    def job_folder(self) -> Path:
        """The folder of the measured program."""
        return self.rabbit.folder / "scripts" / "cold"


@asynccontextmanager
async def opened(options: Options) -> AsyncIterator[Bench]:
    """Everything that a run needs; nothing of it is left in the end."""
    async with AsyncExitStack() as stack:
        # Names of sockets and mounts are long; programs must be readable for whoever the container runs as.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pyexecutorhub-bench-")))
        folder.chmod(0o755)
        broker = OwnBroker()
        stack.push_async_callback(asyncio.to_thread, broker.remove)
        await asyncio.to_thread(broker.start)
        docker = await stack.enter_async_context(aiodocker.Docker())
        bench = Bench(options, folder, broker, docker)
        stack.push_async_exit(bench._stack)
        yield bench


@asynccontextmanager
async def _hubs(bench: Bench) -> AsyncIterator[Hubs]:
    known = known_keys()
    runnable = [program for program in ENTRIES if lacking(program, known) is None]
    url = await asyncio.to_thread(bench.broker.new_vhost_url)
    async with AsyncExitStack() as stack:
        rabbit = BenchHub(bench.folder / "rabbit", parts=("gateway", "runner"), bus_url=url)
        rabbit.write_programs(runnable)
        plain = BenchHub(
            bench.folder / "plain", parts=("runner",), bus_url=url, BENCH_ENGINE=_SUBPROCESS, HUB_POOL=SUBPROCESS_POOL
        )
        plain.write_programs([_SUBPROCESS])
        embedded = BenchHub(bench.folder / "embedded", parts=("up",))
        embedded.write_programs([program for program in runnable if program in ("warm", "cold")])
        for hub in (rabbit, plain, embedded):
            bench.instances.append(hub.instance)
            stack.push_async_callback(asyncio.to_thread, hub.close)
            await asyncio.to_thread(hub.start)
        client = await stack.enter_async_context(Client(rabbit))
        embedded_client = await stack.enter_async_context(Client(embedded))
        try:
            for program in runnable:
                # Until both runners are there and everything was loaded once.
                await client.run(program)
            for program in ("cold", *(["warm"] if "warm" in runnable else [])):
                await embedded_client.run(program)
        except AssertionError as error:
            error.add_note("\n".join(hub.log()[-_LOG_SHOWN:] for hub in (rabbit, plain, embedded)))
            raise
        await stack.enter_async_context(listening(url, bench.proofs))
        yield Hubs(rabbit, client, embedded, embedded_client)
