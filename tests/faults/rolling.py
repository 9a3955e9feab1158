"""A fleet of two gateways and two runners that are restarted one after the other while requests keep coming.

python -m tests.faults.rolling --rounds 8 --bus-url amqp://…     restarts each of the four in every round; figures as JSON
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from runner.waiting import cancel
from tests.faults.failpoint_hub import LINES, SETTINGS, WRITES
from tests.support.api import FINISHED
from tests.support.hub_process import PASSWORD, USERNAME, HubProcess
from tests.support.wait import eventually

#: Seconds between two looks of the balancer, and the seconds that a gateway gives it.
_LOOK_SECONDS, _LEAVE_SECONDS = 0.2, 1.0
#: Requests that are made at the same time, and seconds between two of one client.
_CLIENTS, _PAUSE_SECONDS = 4, 0.8


class Balancer:
    """Hands each request to the next gateway that says it is ready, and never tries one twice."""

    def __init__(self, gateways: list[HubProcess], session: aiohttp.ClientSession) -> None:
        self._gateways = gateways
        self._session = session
        self._ready: list[str] = []
        self._turn = 0
        #: What was answered, by status; what broke, by the error.
        self.answers: Counter[str] = Counter()

    async def look(self) -> None:
        """See which are ready, for ever."""
        while True:
            self._ready = [gateway.address for gateway in self._gateways if await self.is_ready(gateway)]
            await asyncio.sleep(_LOOK_SECONDS)

    async def is_ready(self, gateway: HubProcess) -> bool:
        """Whether this one says so."""
        try:
            async with self._session.get(f"{gateway.address}/health?ready=1", timeout=aiohttp.ClientTimeout(total=1)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One request: status and body; 502 where the connection failed, as a balancer would say."""
        if not self._ready:
            self.answers["nobody is ready"] += 1
            return 503, None
        self._turn += 1
        address = self._ready[self._turn % len(self._ready)]
        try:
            async with self._session.request(method, address + path, json=body) as answer:
                self.answers[str(answer.status)] += 1
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.answers[repr(error)] += 1
            return 502, None

    @property
    def failures(self) -> dict[str, int]:
        """All that a client must not see."""
        return {answer: count for answer, count in self.answers.items() if not answer.isdecimal() or int(answer) >= 500}


@dataclass
class Fleet:
    """Two gateways and two runners on one project, each with a state directory of its own."""

    folder: Path
    bus_url: str
    gateways: list[HubProcess] = field(init=False)
    runners: list[HubProcess] = field(init=False)

    def __post_init__(self) -> None:
        self.gateways = [self._part("gateway", number) for number in (1, 2)]
        self.runners = [self._part("runner", number) for number in (1, 2)]
        self.gateways[0].write_program("writes", WRITES)
        self.gateways[0].edit(lambda config: config.update(settings=SETTINGS))

    def _part(self, name: str, number: int) -> HubProcess:
        part = HubProcess(self.folder, parts=(name,), bus_url=self.bus_url)
        part.environment |= {
            "HUB_STATE_DIR": str(self.folder / f"{name}{number}"),
            "HUB_INSTANCE": f"test-rolling-{self.folder.name}-{id(self)}",
            "HUB_SECRET_KEY": "the same key for both of the gateways",
            "HUB_LEAVE_SECONDS": str(_LEAVE_SECONDS),
            "HUB_STOP_SECONDS": "1",
        }
        part.instance = part.environment["HUB_INSTANCE"]
        return part

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Fleet"]:
        """All of them started; in the end nothing is left."""
        parts = [*self.gateways, *self.runners]
        try:
            for part in parts:
                await asyncio.to_thread(part.start)
            yield self
        finally:
            for part in parts:
                await asyncio.to_thread(part.close)


@dataclass
class Rolled:
    """What came of it."""

    accepted: list[str] = field(default_factory=list)
    #: Seconds from SIGTERM to the end of each process.
    stops: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    failures: dict[str, int] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """For people and programs."""
        return {
            "restarts": len(self.stops),
            "executions": len(self.accepted),
            "answers": dict(self.answers),
            "failures": self.failures,
            "longest_stop_seconds": round(max(self.stops), 2),
        }


async def roll(fleet: Fleet, rounds: int) -> Rolled:
    """Restart each part in each round, under load.

    Raises:
        AssertionError: an execution did not end as it must, or a process did not stop in order.
    """
    rolled = Rolled()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
        balancer = Balancer(fleet.gateways, session)
        looking = asyncio.create_task(balancer.look(), name="look who is ready")
        await eventually(lambda: asyncio.sleep(0, len(balancer._ready)), lambda ready: ready == 2, within_seconds=30)
        await _log_in(balancer, session)
        enough = asyncio.Event()
        clients = [asyncio.create_task(_keep_asking(balancer, rolled, enough), name=f"client {n}") for n in range(_CLIENTS)]
        try:
            for _ in range(rounds):
                for one, other in (fleet.gateways, fleet.gateways[::-1], fleet.runners, fleet.runners[::-1]):
                    if one in fleet.gateways:
                        await eventually(lambda other=other: balancer.is_ready(other), within_seconds=30)  # type: ignore[misc]
                    rolled.stops.append(await _restart(one))
                    await asyncio.sleep(2 * _LOOK_SECONDS)  # the balancer sees it
            enough.set()
            await asyncio.gather(*clients)
        finally:
            await cancel(*clients)
        for execution_id in rolled.accepted:
            await _is_as_it_must_be(balancer, execution_id)
        await cancel(looking)
    starts = (fleet.folder / "scripts" / "writes" / "starts").read_text(encoding="ascii").split()
    assert sorted(starts) == sorted(rolled.accepted)
    await eventually(lambda: asyncio.to_thread(fleet.runners[0].containers), lambda left: not left, within_seconds=30)
    rolled.answers, rolled.failures = balancer.answers, balancer.failures
    return rolled


async def _log_in(balancer: Balancer, session: aiohttp.ClientSession) -> None:
    status, body = await balancer.call("POST", "/auth/login", {"username": USERNAME, "password": PASSWORD})
    assert status == 200, body
    session.headers["Authorization"] = f"Bearer {body['access_token']}"


async def _keep_asking(balancer: Balancer, rolled: Rolled, enough: asyncio.Event) -> None:
    """Ask for executions one after the other, now and then with a wait for the end, until that is enough."""
    number = 0
    while not enough.is_set():
        number += 1
        wait = "?wait=3" if number % 3 == 0 else ""
        body = {"program_id": "writes", "parameters": {"pause": 0.1 + 0.1 * (number % 4)}}
        status, answer = await balancer.call("POST", f"/execute{wait}", body)
        if status in (200, 202):
            rolled.accepted.append(answer["execution_id"])
        await asyncio.sleep(_PAUSE_SECONDS)
        await balancer.call("GET", "/executions?limit=5")


async def _restart(part: HubProcess) -> float:
    began = time.monotonic()
    for name in ("gateway", "runner"):
        part.send_signal(name, signal.SIGTERM)
    statuses = await asyncio.to_thread(part.death, within_seconds=20)
    seconds = time.monotonic() - began
    assert statuses == [0], part.log()[-3000:]
    await asyncio.to_thread(part.start)
    return seconds


async def _is_as_it_must_be(balancer: Balancer, execution_id: str) -> None:
    async def record() -> dict[str, Any]:
        status, body = await balancer.call("GET", f"/executions/{execution_id}")
        return body if status == 200 else {"status": f"answered {status}"}

    ended = await eventually(record, lambda body: body["status"] in FINISHED, within_seconds=60, every_seconds=0.1)
    assert (ended["status"], ended["exit_code"]) == ("failed", sum(map(ord, execution_id)) % 100 + 1), ended
    assert ended["output"] == "".join(f"{number} {execution_id}\n" for number in range(LINES)), ended


async def _main(rounds: int, bus_url: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with Fleet(Path(folder), bus_url).opened() as fleet:
            rolled = await roll(fleet, rounds)
    sys.stdout.write(json.dumps(rolled.figures()) + "\n")
    return 1 if rolled.failures else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--bus-url", required=True)
    options = parser.parse_args()
    sys.exit(asyncio.run(_main(options.rounds, options.bus_url)))
