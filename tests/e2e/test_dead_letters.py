"""M28: dead letters from the command line and over HTTP, on both buses."""

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import aiohttp
import pytest

from bus.embedded.bus import BUS_FILE
from bus.messages import DeadReason
from tests.e2e.conftest import HubMaker
from tests.support.api import Api
from tests.support.broker import Broker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = pytest.mark.docker

BODIES = (b"\x1b[2Jnot json", b'{"parameters": {}}', b"{}")


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def hub(request: pytest.FixtureRequest, make_hub: HubMaker) -> HubProcess:
    """A running hub with three dead letters."""
    if request.param == "embedded":
        hub = make_hub()
        hub.start()
        hub.kill()
        _put(hub.folder / "state" / BUS_FILE)
        hub.start()
    else:
        broker: Broker = request.getfixturevalue("broker")
        url = broker.new_vhost_url()
        hub = make_hub(bus_url=url, parts=("gateway", "runner"))
        hub.start()
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel(on_return_raises=True)
            commands = await channel.get_exchange("hub.commands")
            for body in BODIES:
                await commands.publish(aio_pika.Message(body, message_id=str(uuid4())), routing_key="execute.default")
    return hub


def _put(file: Path) -> None:
    """Commands into the embedded bus, past the gateway, which accepts none that are malformed."""
    with sqlite3.connect(file) as database:
        for body in BODIES:
            database.execute(
                "INSERT INTO work (pool, queued_at, message_id, body, content_type) VALUES ('default', ?, ?, ?, 'text/plain')",
                (time.time(), str(uuid4()), body),
            )
    database.close()


def dlq(hub: HubProcess, *words: str) -> subprocess.CompletedProcess[bytes]:
    """``pyexecutorhub dlq …`` beside a hub."""
    return subprocess.run(
        [sys.executable, "-m", "hub", "dlq", *words, "--config", str(hub.config_path)],
        env=hub.environment,
        cwd=hub.folder,
        capture_output=True,
        timeout=60,
        check=False,
    )


async def test_m28_dead_letters_are_seen_run_again_and_let_go_of_from_the_command_line(hub: HubProcess) -> None:
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()

        async def health() -> Any:
            return await api.get("/health")

        told = await eventually(health, lambda seen: seen.get("dead_letters") == 3, within_seconds=20)
        assert told["status"] == "healthy"

        listed = dlq(hub, "list")
        assert listed.returncode == 0, listed.stderr
        assert listed.stdout.count(b"\n") == 3
        newest, middle, oldest = json.loads(dlq(hub, "list", "--json", "--reason", DeadReason.MALFORMED).stdout)
        assert oldest["detail"].startswith("the body is not JSON")
        assert middle["detail"].startswith("the body is not an ExecuteProgram")
        shown = dlq(hub, "show", oldest["id"])
        assert b"\x1b" not in listed.stdout + shown.stdout
        assert rb"body: \x1b[2Jnot json" in shown.stdout
        assert dlq(hub, "show", oldest["id"], "--raw").stdout == BODIES[0]

        refused = dlq(hub, "redrive", newest["id"])
        assert (refused.returncode, refused.stdout) == (1, b"")
        assert b"It would be a dead letter again" in refused.stderr
        meant = hub.folder / "meant.json"
        meant.write_text('{"program_id": "hello", "parameters": {"name": "Ana"}}')
        redriven = dlq(hub, "redrive", newest["id"], "--body", str(meant))
        assert redriven.returncode == 0, redriven.stderr
        letter_id, execution_id = redriven.stdout.decode().split()
        assert letter_id == newest["id"]
        record = await api.finished(execution_id)
        assert (record["status"], record["submitted_by"]) == ("completed", "tester")
        assert "name is Ana" in record["output"]
        assert dlq(hub, "redrive", newest["id"]).stderr == b"error: Dead letter not found\n"

        every = dlq(hub, "redrive", "--all")
        assert (every.returncode, every.stdout) == (1, b"")
        assert every.stderr.endswith(b"0 settled, 2 not\n")
        assert dlq(hub, "discard", middle["id"]).returncode == 0
        assert [one["id"] for one in await api.get("/dead-letters")] == [oldest["id"]]
        hub.kill()
        hub.start()
        emptied = dlq(hub, "discard", "--all", "--reason", "malformed")
        assert (emptied.returncode, emptied.stderr) == (0, b"1 settled, 0 not\n")
        assert await api.get("/dead-letters") == []
        assert "dead_letters" not in await health()
