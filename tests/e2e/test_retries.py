"""M8: what fails is tried again as its program says, as attempts of one execution, with everything real."""

import asyncio
import json
import sys
from typing import Any

import aio_pika
import pytest

from tests.e2e.conftest import HubMaker, user_of
from tests.support.api import Api
from tests.support.broker import Broker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]


def starts(hub: HubProcess, program: str = "tries") -> list[list[str]]:
    """Execution id and attempt of each start that there really was."""
    path = hub.folder / "scripts" / program / "starts"
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


async def waits_for_its_next_attempt(api: Api, execution_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any]:
        record: dict[str, Any] = await api.get(f"/executions/{execution_id}")
        return record

    return await eventually(look, lambda record: record["retry_time"] is not None, within_seconds=30)


async def test_m8_what_fails_twice_and_then_succeeds_is_one_execution_of_three_attempts(hub: HubProcess, api: Api) -> None:
    record = await api.run("tries")

    execution_id = record["execution_id"]
    assert (record["status"], record["exit_code"], record["reason"], record["attempt"]) == ("completed", 0, None, 3)
    # The output is that of the last attempt alone, which was told its number.
    assert (record["output"], record["error"]) == (f"attempt 3 of {execution_id}\n", "a word on the side\n")
    first, second = record["attempts"]
    assert (first["attempt"], first["status"], first["exit_code"], first["reason"]) == (1, "failed", 11, "exit_code")
    assert (second["attempt"], second["status"], second["exit_code"], second["reason"]) == (2, "failed", 12, "exit_code")
    assert first["start_time"] < first["end_time"] < second["start_time"] < second["end_time"] < record["start_time"]
    assert first["runner_id"] == record["runner_id"]
    assert record["retry_time"] is None
    assert starts(hub) == [[execution_id, str(number)] for number in (1, 2, 3)]
    for number in (1, 2, 3):
        logs = await api.get(f"/executions/{execution_id}/logs?attempt={number}")
        assert (logs["output"], logs["status"]) == (
            f"attempt {number} of {execution_id}\n",
            "completed" if number == 3 else "failed",
        )
        assert logs["duration_seconds"] > 0
    by_status = (await api.get("/executions/stats"))["by_status"]
    assert [entry["total"] for entry in by_status["completed"] if entry["name"] == "tries"] == [1]
    assert not [entry for entry in by_status["failed"] if entry["name"] == "tries"]


async def test_m8_m1_a_cancel_during_the_pause_ends_it_at_once_and_nothing_is_tried_again(hub: HubProcess, api: Api) -> None:
    execution_id = await api.submit("tries_later")
    record = await waits_for_its_next_attempt(api, execution_id)
    assert (record["status"], record["attempt"], record["output"]) == ("queued", 2, None)
    assert record["progress"].startswith("Attempt 1 of 2 ended: failed. The next one is due at ")

    await api.call("POST", f"/executions/{execution_id}/cancel", {"reason": "enough"})

    record = await api.finished(execution_id, within_seconds=10)
    assert (record["status"], record["attempt"], record["exit_code"]) == ("cancelled", 2, None)
    assert [attempt["exit_code"] for attempt in record["attempts"]] == [11]
    # What the first attempt wrote is there still.
    assert record["output"] == f"attempt 1 of {execution_id}\n"
    assert record["error"] == "a word on the side\nCancelled by tester: enough"
    assert starts(hub, "tries_later") == [[execution_id, "1"]]


async def test_m8_subscribers_hear_of_each_attempt_and_a_stranger_can_not_ask_for_one(
    make_hub: HubMaker, broker: Broker
) -> None:
    url = broker.new_vhost_url()
    hub = make_hub(bus_url=url, parts=("gateway", "runner"))
    async with user_of(hub) as api, await aio_pika.connect(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("hub.executions", "execution.#")
        commands = await channel.get_exchange("hub.commands")
        execution_id = await api.submit("tries", enough=2)

        async def ask_for_attempt(number: int) -> None:
            body = json.dumps({"program_id": "tries", "parameters": {"ENOUGH": "2"}, "attempt": number}).encode()
            await commands.publish(aio_pika.Message(body, message_id=execution_id), "execute.default")

        for number in (1, 2, 3):
            await ask_for_attempt(number)
        record = await api.finished(execution_id)
        for number in (2, 3, 4):
            await ask_for_attempt(number)
        # They were all looked at, and dropped.
        after = await api.run("hello")

        heard: list[tuple[str, int]] = []
        async with queue.iterator(no_ack=True, timeout=20) as messages:
            async for message in messages:
                told = json.loads(message.body)
                heard.append((told["id"], told["data"]["attempt"]))
                if told["id"] == f"{after['execution_id']}:end":
                    break
    assert (record["status"], record["attempt"], len(record["attempts"])) == ("completed", 2, 1)
    assert starts(hub) == [[execution_id, "1"], [execution_id, "2"]]
    assert [(event.removeprefix(execution_id), attempt) for event, attempt in heard if event.startswith(execution_id)] == [
        (":1:0", 1),
        (":1:1", 1),
        (":1:attempt_ended", 1),
        (":2:0", 2),
        (":2:1", 2),
        (":end", 2),
    ]


async def test_m8_run_tells_of_each_attempt(hub: HubProcess, api: Api) -> None:
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub", "run", "tries", "-p", "enough=2", "--config", str(hub.config_path)),
        env=hub.environment,
        cwd=hub.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(run.communicate(), 60)
    assert run.returncode == 0, err
    assert out.startswith(b"attempt 2 of ")
    assert b"attempt 1: Program exited with code 11; another one follows\n" in err
