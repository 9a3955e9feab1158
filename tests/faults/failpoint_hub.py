"""A hub whose processes are killed at failpoints and started again, and a user who does not give up meanwhile."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp

from bus import topology
from schemas.failpoints import VARIABLE
from tests.support.api import FINISHED
from tests.support.hub_process import PASSWORD, USERNAME, HubProcess
from tests.support.wait import eventually

#: Seconds that anything may take on a machine that is busy with other things.
LIMIT_SECONDS = 90.0
LINES = 12
#: Leaves a line for its start on the host, writes for a moment, and exits with a code made of its own id.
WRITES = f"""
import os, time
name = os.environ["EXECUTION_ID"]
with open("/workspace/starts", "a") as starts:
    starts.write(name + "\\n")
for number in range({LINES}):
    print(number, name, flush=True)
    time.sleep(float(os.environ.get("PARAM_PAUSE", "0.02")))
raise SystemExit(sum(map(ord, name)) % 100 + 1)
"""
#: The same, and talks to itself before.
TALKS = f"""
import socket
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
    pass
{WRITES}"""
#: Fails twice, and not the third time.
AGAIN = """
import os
name = os.environ["EXECUTION_ID"]
with open("/workspace/starts", "a") as starts:
    starts.write(name + "\\n")
starts = open("/workspace/starts").read().split().count(name)
print("at last" if starts == 3 else "not yet")
raise SystemExit(starts < 3)
"""
#: Does not end by itself, but for its second start.
AT_FIRST_LASTS = """
import os, time
name = os.environ["EXECUTION_ID"]
with open("/workspace/starts", "a") as starts:
    starts.write(name + "\\n")
if open("/workspace/starts").read().split().count(name) == 1:
    time.sleep(600)
print("at last")
"""
STUBBORN = """
import os, signal, time
with open("/workspace/starts", "a") as starts:
    starts.write(os.environ["EXECUTION_ID"] + "\\n")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("here", flush=True)
time.sleep(600)
"""
#: Of the user's own, for all that is announced.
QUEUE = "hub.subscriber.failpoints"
SETTINGS = {"max_concurrent_executions": 4, "memory_limit": "64m", "cpu_limit": "1", "stop_grace_seconds": 1}


@dataclass
class FailpointHub:
    """One hub and its user. On RabbitMQ its gateway and its runner are two processes; else both are the same."""

    folder: Path
    bus_url: str
    compose_command: str | None = None
    gateway: HubProcess = field(init=False)
    runner: HubProcess = field(init=False)
    #: Executions that were accepted so far: the statistics must say the same.
    accepted: set[str] = field(default_factory=set)
    #: What a subscriber heard: execution id → (routing key, body), in order.
    heard: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    _session: aiohttp.ClientSession = field(init=False)

    def __post_init__(self) -> None:
        if self.is_embedded:
            self.gateway = self.runner = HubProcess(self.folder)
        else:
            self.gateway = HubProcess(self.folder, parts=("gateway",), bus_url=self.bus_url)
            self.runner = HubProcess(self.folder, parts=("runner",), bus_url=self.bus_url)
        self.runner.environment["HUB_STOP_SECONDS"] = "0"
        self.runner.environment["HUB_NETWORK_SANDBOXES"] = "on"
        if self.compose_command:
            self.runner.environment["HUB_COMPOSE_COMMAND"] = self.compose_command
        self.gateway.write_program("writes", WRITES)
        self.gateway.write_program("requires", WRITES)
        self.gateway.write_program("alone", TALKS, network="none")
        # Where anything is kept warm, this is.
        self.gateway.write_program("warm", WRITES, warm=1)
        self.gateway.write_program("again", AGAIN, retry={"max": 2, "backoff": "100ms", "max_backoff": "100ms"})
        self.gateway.write_program("stubborn", STUBBORN, timeout_seconds=1, stop_grace_seconds=1)
        self.gateway.write_program("lasts", STUBBORN, timeout_seconds=600, stop_grace_seconds=1)
        self.gateway.write_program("at_first_lasts", AT_FIRST_LASTS, retry={"max": 1, "backoff": "100ms", "on": "runner_lost"})
        self.gateway.edit(lambda config: config.update(settings=SETTINGS))

    @property
    def is_embedded(self) -> bool:
        """Whether it is one process."""
        return self.bus_url == "embedded"

    def part(self, victim: str) -> HubProcess:
        """The process that plays this role."""
        return self.gateway if victim == "gateway" else self.runner

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["FailpointHub"]:
        """With its user; in the end nothing of it is left."""
        async with AsyncExitStack() as stack:
            stack.callback(self.gateway.close)
            stack.callback(self.runner.close)
            timeout = aiohttp.ClientTimeout(total=15)
            self._session = await stack.enter_async_context(aiohttp.ClientSession(self.gateway.address, timeout=timeout))
            if not self.is_embedded:
                await self.have(self.gateway)  # which makes the topology
                await self.amqp(self._subscribe)
            yield self

    # Processes

    async def have(self, part: HubProcess) -> None:
        """See that this part is there and answers."""
        if not part.is_launched:
            await asyncio.to_thread(part.start)

    def kill(self, part: HubProcess) -> None:
        """Be rid of this part, if it is there."""
        if part.is_launched:
            part.kill()

    async def die_and_return(self, part: HubProcess, points: tuple[str, ...]) -> None:
        """Start the part, wait until it has died at the point, and so on for each of them; then let it live."""
        for point in points:
            logged = len(part.log())
            part.launch(**{VARIABLE: point})
            statuses = await asyncio.to_thread(part.death, within_seconds=LIMIT_SECONDS)
            assert statuses == [-9], f"ended with {statuses}: {part.log()[-3000:]}"
            said = f"killed at the failpoint {point.partition(':')[0]}"
            assert said in part.log()[logged:], f"not {said}: {part.log()[-3000:]}"
        part.launch()

    async def add_program(self, name: str, text: str, *, file: str = "main.py", **entry: object) -> None:
        """Put a program into the folder, and wait until the gateway knows it."""
        self.gateway.write_program(name, text, file=file, **entry)
        await self.have(self.gateway)

        async def programs() -> list[str]:
            _, body = await self.persist("GET", "/programs")
            return [program["id"] for program in body]

        await eventually(programs, lambda ids: name in ids, within_seconds=20)

    # The user

    async def persist(
        self, method: str, path: str, body: object = None, *, key: str | None = None, token: str | None = None
    ) -> tuple[int, Any]:
        """Ask until the gateway answers; an answer that says "later" is none."""

        async def ask() -> tuple[int, Any]:
            try:
                return await self.ask(method, path, body, key=key, token=token)
            except (aiohttp.ClientError, TimeoutError) as error:
                return 503, error

        return await eventually(ask, lambda answer: answer[0] != 503, within_seconds=LIMIT_SECONDS, every_seconds=0.05)

    async def ask(
        self, method: str, path: str, body: object = None, *, key: str | None = None, token: str | None = None
    ) -> tuple[int, Any]:
        """Ask once: status and body. Whoever has a ``token`` is let in by that."""
        if "Authorization" not in self._session.headers:
            await self._log_in()
        headers = ({"Idempotency-Key": key} if key else {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        async with self._session.request(method, path, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def _log_in(self) -> None:
        async with self._session.post("/auth/login", json={"username": USERNAME, "password": PASSWORD}) as answer:
            assert answer.status == 200, await answer.text()
            self._session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"

    async def submit(self, program: str, key: str, **parameters: object) -> str:
        """Ask for an execution; its id."""
        status, body = await self.persist("POST", "/execute", {"program_id": program, "parameters": parameters}, key=key)
        assert status in (200, 202), (status, body)
        execution_id: str = body["execution_id"]
        self.accepted.add(execution_id)
        return execution_id

    async def record(self, execution_id: str) -> dict[str, Any]:
        """What is known of an execution."""
        status, body = await self.persist("GET", f"/executions/{execution_id}")
        assert status == 200, (status, body)
        record: dict[str, Any] = body
        return record

    async def is_running(self, execution_id: str) -> None:
        """Wait until it runs."""
        await self._until(execution_id, lambda record: record["status"] == "running")

    async def has_started(self, execution_id: str) -> None:
        """Wait until it runs, or has run."""
        await self._until(execution_id, lambda record: record["status"] != "queued")

    async def finished(self, execution_id: str, *, within_seconds: float = LIMIT_SECONDS) -> dict[str, Any]:
        """Its record once it has ended."""
        return await self._until(execution_id, lambda record: record["status"] in FINISHED, within_seconds)

    async def _until(
        self, execution_id: str, accept: Callable[[dict[str, Any]], bool], within_seconds: float = LIMIT_SECONDS
    ) -> dict[str, Any]:
        return await eventually(lambda: self.record(execution_id), accept, within_seconds=within_seconds, every_seconds=0.1)

    # What must be true in the end

    async def is_whole(self, execution_id: str, program: str = "writes", *, starts: int = 1) -> dict[str, Any]:
        """It ended once, was started so often, and nothing of it or of another is left anywhere."""
        record = await self.finished(execution_id)
        started = self.folder / "scripts" / program / "starts"
        lines = started.read_text(encoding="ascii").split() if started.exists() else []
        assert lines.count(execution_id) == starts, (record, lines)
        await self.is_tidy()
        if not self.is_embedded:
            await self.was_told_once(execution_id)
        return record

    async def wrote_all(self, execution_id: str, program: str = "writes") -> dict[str, Any]:
        """The same of :data:`WRITES`, which ended by itself."""
        record = await self.is_whole(execution_id, program)
        assert record["exit_code"] == sum(map(ord, execution_id)) % 100 + 1, record
        assert record["status"] == "failed", record
        assert record["output"] == "".join(f"{number} {execution_id}\n" for number in range(LINES)), record
        return record

    async def is_tidy(self) -> None:
        """No container of ours is left, the journal is empty, and the statistics count each execution once."""

        async def journal() -> tuple[int, ...]:
            return await asyncio.to_thread(self.journal)

        async def containers() -> list[str]:
            return await asyncio.to_thread(self.runner.containers)

        async def counted() -> tuple[int, int]:
            _, statistics = await self.persist("GET", "/executions/stats")
            ended = [entry["total"] for status in FINISHED for entry in statistics["by_status"][status]]
            return statistics["total"], sum(ended)

        await eventually(journal, lambda left: left == (0, 0), within_seconds=LIMIT_SECONDS)
        await eventually(containers, lambda left: not left, within_seconds=LIMIT_SECONDS)
        await eventually(counted, lambda seen: seen == (len(self.accepted),) * 2, within_seconds=LIMIT_SECONDS)

    def journal(self) -> tuple[int, ...]:
        """How many claims are in the runner's journal, and how many reports that wait to be told."""
        path = self.folder / "state" / "journal.db"
        if not path.exists():
            return 0, 0
        with sqlite3.connect(path) as database:
            rows = [database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("claims", "outbox")]
        database.close()
        return tuple(rows)

    # A subscriber

    async def amqp(self, use: Callable[[aio_pika.abc.AbstractChannel], Awaitable[None]]) -> None:
        """A short visit to RabbitMQ."""
        async with await aio_pika.connect(self.bus_url) as connection:
            await use(await connection.channel())

    async def _subscribe(self, channel: aio_pika.abc.AbstractChannel) -> None:
        queue = await channel.declare_queue(QUEUE, durable=True)
        await queue.bind(topology.EXECUTIONS, "execution.#")

    async def was_told_once(self, execution_id: str) -> None:
        """Subscribers heard its events in order, and one ending."""

        async def listen(channel: aio_pika.abc.AbstractChannel) -> None:
            queue = await channel.declare_queue(QUEUE, passive=True)
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                name = (message.message_id or "").partition(":")[0]
                self.heard.setdefault(name, []).append((message.routing_key or "", message.body))

        async def ends() -> set[bytes]:
            await self.amqp(listen)
            heard = self.heard.get(execution_id, [])
            return {body for key, body in heard if key.split(".")[1] in FINISHED}

        seen = await eventually(ends, within_seconds=LIMIT_SECONDS, every_seconds=0.1)
        assert len(seen) == 1, seen
        order = list(dict.fromkeys(key.split(".")[1] for key, _ in self.heard[execution_id]))
        steps = [status for status in order if status not in ("progress", "attempt_ended", "late_result")]
        assert steps[-1] in FINISHED and steps == [s for s in ("queued", "running", *FINISHED) if s in steps], steps
