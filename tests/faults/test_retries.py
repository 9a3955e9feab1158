"""M8 under faults: who would have queued the next attempt dies, and who may not ask for one tries to."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import pytest
from aio_pika.exceptions import ChannelClosed

from bus.open import make_bus
from tests.e2e.conftest import HubMaker, user_of
from tests.e2e.programs import TRIES
from tests.support.broker import IMAGE, Broker
from tests.support.ports import free_port
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(180)]


@pytest.mark.parametrize("kind", ["embedded", "rabbitmq"])
async def test_fault35_m8_a_holder_killed_during_the_pause_costs_no_attempt_and_makes_none_twice(
    make_hub: HubMaker, broker: Broker, kind: str
) -> None:
    hub = make_hub() if kind == "embedded" else make_hub(bus_url=broker.new_vhost_url(), parts=("gateway", "runner"))
    hub.write_program("pauses", TRIES, retry={"max": 2, "backoff": "6s", "max_backoff": "6s"})
    async with user_of(hub) as api:
        execution_id = await api.submit("pauses", enough=2)

        async def waits() -> bool:
            return (await api.get(f"/executions/{execution_id}"))["retry_time"] is not None

        await eventually(waits, within_seconds=30)
        await asyncio.to_thread(hub.kill)
        hub.start()
        record = await api.finished(execution_id)
        assert (record["status"], record["attempt"], len(record["attempts"])) == ("completed", 2, 1)
    starts = (hub.folder / "scripts" / "pauses" / "starts").read_text(encoding="utf-8").splitlines()
    assert starts == [f"{execution_id} 1", f"{execution_id} 2"]


@pytest.fixture
def urls() -> Iterator[dict[str, str]]:
    """The addresses of each role of a fleet's RabbitMQ, as its own start script makes them."""
    port, name = free_port(), "attempts-roles"
    subprocess.run(["docker", "rm", "-f", name], check=False, capture_output=True)
    subprocess.run(
        ["docker", "run", "-d", "--name", name, "-p", f"127.0.0.1:{port}:5672", IMAGE], check=True, capture_output=True
    )
    try:
        found = {}
        for role in ("gateway", "runner", "client"):
            for _ in range(100):
                shown = subprocess.run(
                    ["docker", "exec", name, "cat", f"/bus/{role}/url"], check=False, capture_output=True, text=True
                )
                if shown.returncode == 0 and shown.stdout.strip():
                    break
            found[role] = shown.stdout.strip().replace("@rabbitmq:5672", f"@127.0.0.1:{port}")
        yield found
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)


async def test_m8_the_fleets_rabbitmq_lets_the_holder_alone_queue_a_further_attempt(
    urls: dict[str, str], tmp_path: Path
) -> None:
    bus = make_bus(urls["gateway"], state_dir=tmp_path, name="test gateway")

    async def is_open() -> bool:
        try:
            await bus.open(frozenset({"default"}))
        except Exception:
            return False
        return True

    await eventually(is_open, within_seconds=90)
    for role, may in (("gateway", True), ("runner", False), ("client", False)):
        async with await aio_pika.connect(urls[role]) as connection:
            channel = await connection.channel(on_return_raises=True)
            reports = await channel.get_exchange("hub.reports", ensure=False)
            message = aio_pika.Message(b'{"program_id": "p", "attempt": 2}', message_id="x")
            if may:
                await reports.publish(message, "retry.default")
            else:
                with pytest.raises(ChannelClosed, match="ACCESS_REFUSED"):
                    await reports.publish(message, "retry.default")
    # A runner may still declare what it consumes from, and report.
    runner = make_bus(urls["runner"], state_dir=tmp_path, name="test runner")
    await runner.open(frozenset({"default", "other"}))
    await runner.close()
    await bus.close()
