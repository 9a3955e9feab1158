"""M1, M2: cancelling over HTTP and over the bus, with everything real; also while no runner is there."""

import asyncio
from pathlib import Path

import aio_pika
import pytest

from schemas.ids import execution_id_of
from tests.e2e.conftest import HubMaker, user_of
from tests.support.api import Api
from tests.support.broker import Broker
from tests.support.documentation import code_blocks
from tests.support.hub_process import ROOT, HubProcess
from tests.support.wait import eventually

README = list(code_blocks((ROOT / "README.md").read_text(encoding="utf-8")))

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]


async def cancel(api: Api, execution_id: str, reason: str | None = None) -> tuple[int, str]:
    status, _, body = await api.call("POST", f"/executions/{execution_id}/cancel", {"reason": reason} if reason else None)
    return status, body["status"]


async def runs(api: Api, execution_id: str) -> None:
    async def status() -> str:
        return str((await api.get(f"/executions/{execution_id}"))["status"])

    await eventually(status, lambda seen: seen == "running", within_seconds=30)


def starts(hub: HubProcess) -> list[str]:
    """The executions of ``counts`` that were ever started."""
    path: Path = hub.folder / "scripts" / "counts" / "starts"
    return path.read_text(encoding="utf-8").split() if path.exists() else []


async def test_m1_what_waits_never_starts_and_what_runs_is_stopped_each_with_who_and_why(hub: HubProcess, api: Api) -> None:
    # Given as many that run as may, and one behind them
    running = [await api.submit("sleeps", seconds=600) for _ in range(2)]
    for execution_id in running:
        await runs(api, execution_id)
    queued = await api.submit("counts")

    # When the one that waits is cancelled, it ends at once and for good
    assert await cancel(api, queued, "not needed") == (202, "queued")
    record = await api.finished(queued, within_seconds=10)
    told = (record["status"], record["reason"], record["category"], record["error"], record["exit_code"], record["start_time"])
    assert told == ("cancelled", "cancelled", "execution", "Cancelled by tester: not needed", None, None)

    # When those that run are cancelled, they are stopped, and nothing of them is left
    for execution_id in running:
        assert await cancel(api, execution_id) == (202, "running")
    for execution_id in running:
        record = await api.finished(execution_id)
        assert (record["status"], record["error"], record["exit_code"]) == ("cancelled", "Cancelled by tester", 143)
        assert record["start_time"] is not None
    await eventually(lambda: asyncio.to_thread(hub.containers), lambda left: left == [])

    # Then asking again, and asking for the end of what has ended by itself, changes nothing
    done = await api.run("counts")
    for execution_id, stands in ((queued, "cancelled"), (running[0], "cancelled"), (done["execution_id"], "completed")):
        assert await cancel(api, execution_id, "again") == (200, stands)
    assert (await api.get(f"/executions/{queued}"))["error"] == "Cancelled by tester: not needed"
    assert queued not in starts(hub)
    assert done["execution_id"] in starts(hub)
    by_status = (await api.get("/executions/stats"))["by_status"]
    assert {entry["name"]: entry["total"] for entry in by_status["cancelled"]} == {"sleeps": 2, "counts": 1}
    status, _, body = await api.call("POST", "/executions/0190a8b4-7c3e-7000-8000-0123456789ab/cancel")
    assert (status, body["type"]) == (404, "/problems/execution-not-found")


async def test_fault28_m1_what_ignores_sigterm_is_killed_after_its_grace_and_keeps_its_output(
    hub: HubProcess, api: Api
) -> None:
    execution_id = await api.submit("dies_hard")
    await runs(api, execution_id)

    async def has_written() -> bool:
        shown = await asyncio.create_subprocess_exec(
            *("docker", "logs", execution_id), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        return b"partial output" in (await shown.communicate())[0]

    await eventually(has_written, within_seconds=20)
    assert await cancel(api, execution_id) == (202, "running")
    record = await api.finished(execution_id)
    assert (record["status"], record["exit_code"], record["output"]) == ("cancelled", 137, "partial output\n")


async def test_m2_what_is_cancelled_while_every_runner_is_away_never_starts_when_they_are_back(
    make_hub: HubMaker, broker: Broker
) -> None:
    url = broker.new_vhost_url()
    gateway = make_hub(bus_url=url, parts=("gateway",))
    runner = make_hub(bus_url=url, parts=("runner",), HUB_INSTANCE=gateway.instance)
    async with user_of(gateway) as api:
        runner.start()
        running = await api.submit("dies_hard")
        await runs(api, running)
        await asyncio.to_thread(runner.kill)

        # Given no runner, one program that still runs, and three that wait
        waiting = [await api.submit("counts") for _ in range(3)]
        assert await cancel(api, running, "over night") == (202, "running")
        for execution_id in waiting[:2]:
            assert await cancel(api, execution_id) == (202, "queued")
        for execution_id in waiting[:2]:
            assert (await api.finished(execution_id, within_seconds=10))["status"] == "cancelled"

        # When the runner is back, it stops the one and never starts the others
        runner.start()
        assert (await api.finished(waiting[2]))["status"] == "completed"
        record = await api.finished(running)
        assert (record["status"], record["error"]) == ("cancelled", "Cancelled by tester: over night")
        assert starts(runner) == [waiting[2]]
        for execution_id in waiting[:2]:
            assert (await api.get(f"/executions/{execution_id}"))["start_time"] is None


async def test_m1_anybody_on_the_bus_may_cancel_as_the_readme_says_also_by_the_message_id_and_before_the_command(
    make_hub: HubMaker, broker: Broker
) -> None:
    url = broker.new_vhost_url()
    hub = make_hub(bus_url=url, parts=("gateway", "runner"))
    async with user_of(hub) as api, await aio_pika.connect(url) as connection:
        commands = await (await connection.channel(on_return_raises=True)).get_exchange("hub.commands")

        async def publish(key: str, body: str, message_id: str | None = None) -> None:
            await commands.publish(aio_pika.Message(body.encode(), message_id=message_id), routing_key=key)

        running = await api.submit("sleeps", seconds=600)
        await runs(api, running)
        for malformed in ("", "[]", '{"execution_id": 7}', '{"execution_id": ""}'):
            await publish("cancel", malformed)
        await publish("cancel", f'{{"execution_id": "{running}", "reason": "from a shell"}}', "any id")
        record = await api.finished(running)
        assert (record["status"], record["error"], record["exit_code"]) == ("cancelled", "Cancelled: from a shell", 143)

        (as_typed,) = (block for block in README if block.startswith('{"execution_id"'))
        await publish("cancel", as_typed)
        early = execution_id_of("job-17")
        status, _, _ = await api.call("GET", f"/executions/{early}")
        assert status == 404, "a cancel makes no execution"
        await publish("execute.default", '{"program_id": "counts"}', "job-17")
        await eventually(lambda: api.call("GET", f"/executions/{early}"), lambda answer: answer[0] == 200)
        record = await api.finished(early, within_seconds=20)
        assert (record["status"], record["error"]) == ("cancelled", "Cancelled by nightly job: took too long")
        assert (await api.run("counts"))["status"] == "completed"
        assert early not in starts(hub)
