"""RabbitMQ is killed under load and stays away for a minute, while twenty programs run: one outage, several questions to it.

Beside it, on a server of its own, a program runs for longer than that server lets anybody hold a message.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import pytest
import structlog

from bus import topology
from bus.errors import BusError
from bus.messages import Message, StreamName
from bus.open import make_bus
from bus.ports import Bus
from schemas.ids import new_execution_id
from tests.e2e.programs import write_programs
from tests.support.api import FINISHED, Api
from tests.support.broker import OwnBroker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(400)]

log = structlog.get_logger()

PROGRAMS = 20
AWAY_SECONDS = 60.0
#: A pool that no runner serves, for publishes to be counted.
SPARE = "spare"
PUBLISHES_A_SECOND = 100
CONSUMER_TIMEOUT_SECONDS = 60
LONGER_SECONDS = 72


@dataclass
class Outage:
    """What was seen."""

    #: By what was asked: the slowest answer, in seconds.
    slowest: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    #: Answers to POST /execute while the broker was away.
    refusals: Counter[int] = field(default_factory=Counter)
    records: list[dict[str, Any]] = field(default_factory=list)
    #: By execution: the types and ids of its events, in order, without repeats.
    told: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    starts: Counter[str] = field(default_factory=Counter)
    confirmed: set[str] = field(default_factory=set)
    #: Of those: what was in the log and in the queue afterwards.
    logged: set[str] = field(default_factory=set)
    queued: int = 0
    #: Seconds from the port that speaks AMQP again to the first confirm.
    first_confirm_seconds: float = float("inf")
    #: What it says of itself in the end.
    health: dict[str, Any] = field(default_factory=dict)


@dataclass
class Longer:
    """A program that runs for longer than a message may be held."""

    hub: HubProcess
    broker: OwnBroker
    execution_id: str
    began_at: float


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Longer]:
    """Start it; it needs no attention while other things are tested."""
    broker = OwnBroker()
    try:
        broker.start()
        broker.control(
            "eval",
            f"application:set_env(rabbit, consumer_timeout, {CONSUMER_TIMEOUT_SECONDS * 1000}),"
            " application:set_env(rabbit, channel_tick_interval, 5000).",
        )
        url = broker.new_vhost_url()
        hub = HubProcess(tmp_path_factory.mktemp("longer"), parts=("gateway", "runner"), bus_url=url)
        write_programs(hub)
        try:
            hub.start()
            execution_id = asyncio.run(_submitted(hub))
            yield Longer(hub, broker, execution_id, time.monotonic())
        finally:
            hub.close()
    finally:
        broker.remove()


async def _submitted(hub: HubProcess) -> str:
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        return await api.submit("counts", seconds=LONGER_SECONDS)


@pytest.fixture(scope="module")
def outage(own_broker: OwnBroker, longer: Longer, tmp_path_factory: pytest.TempPathFactory) -> Outage:
    """The outage, from beginning to end."""
    folder = tmp_path_factory.mktemp("outage")
    url = own_broker.new_vhost_url()
    hub = HubProcess(folder, parts=("gateway", "runner"), bus_url=url, HUB_MAX_CONCURRENT_EXECUTIONS=str(PROGRAMS))
    write_programs(hub)
    try:
        hub.start()
        return asyncio.run(_suffer(hub, own_broker, url, folder))
    finally:
        hub.close()


async def _suffer(hub: HubProcess, broker: OwnBroker, url: str, folder: Path) -> Outage:
    seen = Outage()
    (folder / "bus").mkdir()
    bus = make_bus(url, state_dir=folder / "bus", name="publisher")
    await bus.open(frozenset({"default", SPARE}))
    await _watch(url)
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        ids = [await api.submit("counts", seconds=45) for _ in range(PROGRAMS)]

        async def running() -> int:
            page = await api.get("/executions?status=running")
            return len(page)

        await eventually(running, lambda number: number == PROGRAMS, within_seconds=60, every_seconds=0.5)
        publishing = asyncio.create_task(_publish(bus, seen), name="publisher")
        await asyncio.sleep(3)
        await asyncio.to_thread(broker.kill)
        await _ask_for_a_while(api, ids[0], seen)
        opened_at = await _started(broker)
        before = len(seen.confirmed)
        with suppress(AssertionError):  # the test says it
            await eventually(lambda: _number(seen), lambda number: number > before, within_seconds=30)
            seen.first_confirm_seconds = time.monotonic() - opened_at
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        seen.records = [await api.finished(execution_id, within_seconds=90) for execution_id in ids]
        with suppress(AssertionError):  # the test says it
            await eventually(lambda: _health(api, seen), lambda health: health["status"] == "healthy", within_seconds=10)
    seen.starts.update((hub.folder / "scripts" / "counts" / "starts").read_text(encoding="utf-8").split())
    seen.told.update(await _told(url, set(ids)))
    await _count(bus, seen)
    await bus.close()
    return seen


async def _health(api: Api, seen: Outage) -> dict[str, Any]:
    seen.health = await api.get("/health")
    return seen.health


async def _number(seen: Outage) -> int:
    return len(seen.confirmed)


async def _started(broker: OwnBroker) -> float:
    """Start the broker; monotonic time of when its port answered."""
    await asyncio.to_thread(broker.start)
    return time.monotonic()


async def _publish(bus: Bus, seen: Outage) -> None:
    """A hundred a second, whether they are taken or not."""

    async def one() -> None:
        message = Message(id=new_execution_id(), body=b"{}")
        with suppress(BusError):
            await bus.commands.accept(SPARE, message)
            seen.confirmed.add(message.id or "")

    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(one())
            await asyncio.sleep(1 / PUBLISHES_A_SECOND)


async def _ask_for_a_while(api: Api, execution_id: str, seen: Outage) -> None:
    """What users do while the broker is away; each answer is timed."""
    until = time.monotonic() + AWAY_SECONDS
    while time.monotonic() < until:
        for method, path, body in (
            ("GET", "/health", None),
            ("GET", f"/executions/{execution_id}", None),
            ("GET", "/executions", None),
            ("GET", "/executions/stats", None),
            ("POST", "/execute", {"program_id": "hello"}),
        ):
            asked_at = time.monotonic()
            status, _, _ = await api.call(method, path, body)
            name = f"{method} {path.replace(execution_id, 'ID')}"
            seen.slowest[name] = max(seen.slowest[name], time.monotonic() - asked_at)
            if method == "POST":
                seen.refusals[status] += 1
            else:
                assert status == 200, (path, status)
        await asyncio.sleep(0.5)


async def _watch(url: str) -> None:
    """A subscriber's queue, which keeps what comes while nobody reads."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("watcher", durable=True)
        await queue.bind(topology.EXECUTIONS, "execution.#")


async def _told(url: str, ids: set[str]) -> dict[str, list[str]]:
    """What that queue has kept, until the ending of each was there."""
    told: dict[str, list[str]] = defaultdict(list)
    ended: set[str] = set()
    known: set[str] = set()
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).get_queue("watcher")
        async with queue.iterator(timeout=20) as messages:
            async for message in messages:
                await message.ack()
                event = json.loads(message.body)
                status = event["type"].split(".")[-2]
                if event["id"] in known or event["subject"] not in ids or status == "progress":
                    continue
                known.add(event["id"])
                told[event["subject"]].append(status)
                if status in FINISHED:
                    ended.add(event["subject"])
                if ended == ids:
                    break
    return told


async def _count(bus: Bus, seen: Outage) -> None:
    """Look for what was confirmed, in the log and in the queue."""
    with suppress(TimeoutError):
        async with asyncio.timeout(20):
            async for batch in bus.streams.read(StreamName.LOG, None):
                seen.logged |= {record.message.id or "" for record in batch} & seen.confirmed
                if seen.logged >= seen.confirmed:
                    break
    taken: set[str] = set()
    with suppress(TimeoutError):
        async with asyncio.timeout(20):
            while not taken >= seen.confirmed:
                delivery = await bus.commands.take(SPARE, 1000)
                taken.add(delivery.message.id or "")
    seen.queued = len(taken & seen.confirmed)


def test_fault4_nothing_that_was_confirmed_before_the_brokers_sigkill_is_lost(outage: Outage) -> None:
    assert len(outage.confirmed) > PUBLISHES_A_SECOND
    assert outage.logged == outage.confirmed
    assert outage.queued == len(outage.confirmed)


def test_fault4_publishes_are_confirmed_seconds_after_the_broker_is_back(outage: Outage) -> None:
    log.info("the broker is back", action="measured", first_confirm_seconds=round(outage.first_confirm_seconds, 2))
    assert outage.first_confirm_seconds < 6  # the goal is 3 s; the machine may be busy with the broker's own start


def test_fault4_n10_twenty_programs_outlive_a_minute_without_a_broker_each_started_once(outage: Outage) -> None:
    assert {(record["status"], record["exit_code"]) for record in outage.records} == {("completed", 0)}
    ids = [record["execution_id"] for record in outage.records]
    assert {execution_id: outage.starts[execution_id] for execution_id in ids} == dict.fromkeys(ids, 1)
    assert outage.health["status"] == "healthy", outage.health


def test_fault4_after_the_outage_all_events_of_each_execution_are_told_once_and_in_order(outage: Outage) -> None:
    ids = {record["execution_id"] for record in outage.records}
    assert dict(outage.told) == {execution_id: ["queued", "running", "completed"] for execution_id in ids}


def test_fault4_the_gateway_answers_within_two_seconds_throughout_the_outage(outage: Outage) -> None:
    log.info("the broker was away", action="measured", slowest={name: round(took, 2) for name, took in outage.slowest.items()})
    assert set(outage.refusals) == {503}
    assert max(outage.slowest.values()) < 2.0


async def test_fault7_t1_a_program_that_outlives_the_consumer_timeout_is_started_once_and_no_delivery_is_held(
    longer: Longer,
) -> None:
    """Held for as long as the program runs, its delivery would cost the channel after a minute, and be given out again."""
    work = topology.work_queue("default").name
    vhost = longer.hub.environment["HUB_BUS_URL"].rpartition("/")[2]

    def unacked() -> int:
        listed = longer.broker.control("list_queues", "-p", vhost, "name", "messages_unacknowledged")
        return int(next(line.split()[1] for line in listed.splitlines() if line.startswith(work)))

    assert await asyncio.to_thread(unacked) == 0
    async with aiohttp.ClientSession(longer.hub.address) as session:
        api = Api(session)
        await api.log_in()
        record = await api.finished(longer.execution_id, within_seconds=LONGER_SECONDS + 60)
    assert (record["status"], record["exit_code"]) == ("completed", 0)
    assert time.monotonic() - longer.began_at > CONSUMER_TIMEOUT_SECONDS
    starts = (longer.hub.folder / "scripts" / "counts" / "starts").read_text(encoding="utf-8").split()
    assert starts == [longer.execution_id]
    # Nor did anybody else hold something for too long: the announcer's lock, for one.
    assert "channel is closed" not in longer.hub.log()
    assert "PRECONDITION_FAILED" not in longer.hub.log()
