"""M9: idempotency keys, through real hubs on either bus. Starts are counted by a program that leaves a line for each."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import HubMaker, user_of
from tests.e2e.test_command_line import run
from tests.support.api import Api
from tests.support.broker import Broker, OwnBroker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(240)]

#: How often a hub is killed in the middle of a request.
KILLS = 4


async def ask(api: Api, key: str, *, path: str = "/execute", **parameters: object) -> tuple[int, bool, Any]:
    """Status, whether the answer says that it repeats an earlier one, and body."""
    body = {"program_id": "counts", "parameters": parameters}
    status, headers, answer = await api.call("POST", path, body, headers={"Idempotency-Key": key})
    return status, headers.get("Idempotency-Replayed") == "true", answer


def starts(hub: HubProcess) -> list[str]:
    """The executions that were started, as often as they were."""
    file = hub.folder / "scripts" / "counts" / "starts"
    return file.read_text(encoding="utf-8").split() if file.exists() else []


async def test_m9_a_hundred_requests_at_once_with_one_key_are_one_execution_and_one_start(api: Api, hub: HubProcess) -> None:
    answers = await asyncio.gather(*(ask(api, "at once", n=1) for _ in range(100)))

    assert {status for status, _, _ in answers} <= {200, 202}
    (execution_id,) = {answer["execution_id"] for _, _, answer in answers}
    assert sum(not replayed for _, replayed, _ in answers) == 1
    assert (await api.finished(execution_id))["status"] == "completed"
    assert starts(hub).count(execution_id) == 1

    status, replayed, record = await ask(api, "at once", n=1)
    assert (status, replayed, record["execution_id"], record["exit_code"]) == (200, True, execution_id, 0)
    status, _, problem = await ask(api, "at once", n=2)
    assert (status, problem["type"], problem["execution_id"]) == (422, "/problems/idempotency-key-reused", execution_id)
    _, _, other = await ask(api, "another", n=1)
    assert other["execution_id"] != execution_id
    await api.finished(other["execution_id"])
    assert starts(hub).count(execution_id) == 1


async def test_m9_after_a_cleanup_the_key_is_answered_with_410_and_starts_nothing(api: Api, hub: HubProcess) -> None:
    status, _, record = await ask(api, "cleaned up", path="/execute?wait=60")
    assert (status, record["status"]) == (200, "completed")
    status, _, _ = await api.call("DELETE", "/executions/cleanup")
    assert status == 200

    status, _, problem = await ask(api, "cleaned up")
    assert (status, problem["type"]) == (410, "/problems/execution-removed")
    assert (problem["execution_id"], problem["execution_status"]) == (record["execution_id"], "completed")
    assert (await ask(api, "cleaned up", n=2))[0] == 422
    assert starts(hub).count(record["execution_id"]) == 1


@pytest.fixture(params=["embedded", "rabbitmq"])
def own_hub(request: pytest.FixtureRequest, make_hub: HubMaker) -> Iterator[HubProcess]:
    """A hub of a test's own, on either bus."""
    if request.param == "embedded":
        hub = make_hub()
    else:
        broker: Broker = request.getfixturevalue("broker")
        hub = make_hub(parts=("gateway", "runner"), bus_url=broker.new_vhost_url())
    hub.start()
    yield hub


async def test_m9_a_hub_killed_in_the_middle_of_a_request_is_asked_again_and_the_program_starts_once(
    own_hub: HubProcess,
) -> None:
    chance = random.Random(9)
    ends: dict[str, str] = {}
    for number in range(KILLS):
        async with aiohttp.ClientSession(own_hub.address) as session:
            api = Api(session)
            await api.log_in()
            asking = asyncio.create_task(ask(api, f"killed {number}"))
            await asyncio.sleep(chance.uniform(0.0, 0.05))
            own_hub.kill()
            await asyncio.gather(asking, return_exceptions=True)
        await asyncio.to_thread(own_hub.start)
        async with aiohttp.ClientSession(own_hub.address) as session:
            api = Api(session)
            await api.log_in()
            status, _, answer = await ask(api, f"killed {number}")
            assert status in (200, 202), answer
            ended = await api.finished(answer["execution_id"])
            ends[ended["execution_id"]] = ended["status"]
            # Once more, after a restart and an ending: a replay, said to be one.
            assert (await ask(api, f"killed {number}"))[:2] == (200, True)
            total = (await api.get("/executions/stats"))["total"]
    # Its runner was killed too: a program whose start that cut off may have left no line, but never two.
    counted = {execution_id: starts(own_hub).count(execution_id) for execution_id in ends}
    assert all(count == 1 or (count == 0 and ends[one] == "failed") for one, count in counted.items()), (counted, ends)
    assert set(starts(own_hub)) <= set(ends)
    assert total == len(ends) == KILLS


async def test_m9_two_gateways_agree_on_one_execution_and_on_whose_body_it_is(make_hub: HubMaker, broker: Broker) -> None:
    url, secret = broker.new_vhost_url(), "the same secret for every gateway of the fleet"
    hub = make_hub(parts=("gateway", "runner"), bus_url=url, SECRET_KEY=secret)
    second = make_hub(parts=("gateway",), bus_url=url, SECRET_KEY=secret)
    async with user_of(hub) as here, user_of(second) as there:
        answers = await asyncio.gather(*(ask(api, "fleet") for _ in range(25) for api in (here, there)))
        assert {status for status, _, _ in answers} <= {200, 202}
        (execution_id,) = {answer["execution_id"] for _, _, answer in answers}
        for api in (here, there):
            assert (await api.finished(execution_id))["status"] == "completed"
        assert starts(hub) == [execution_id]

        # Both may be told 202 in the same moment; from then on there is one truth.
        first, other = await asyncio.gather(ask(here, "race", n=1), ask(there, "race", n=2))
        execution_id = first[2]["execution_id"]
        assert other[2]["execution_id"] == execution_id
        for api in (here, there):
            await api.finished(execution_id)
        seen = [[(await ask(api, "race", n=number))[0] for api in (here, there)] for number in (1, 2)]
        assert sorted(seen) == [[200, 200], [422, 422]]
        assert starts(hub).count(execution_id) == 1


async def test_m9_run_with_a_key_shows_the_same_run_again(make_hub: HubMaker) -> None:
    hub = make_hub()
    async with user_of(hub):
        words = ("run", "hello", "--param", "name=Temis", "--idempotency-key", "from the shell")
        first = await asyncio.to_thread(run, hub, *words)
        again = await asyncio.to_thread(run, hub, *words)
        other = await asyncio.to_thread(run, hub, "run", "hello", "--idempotency-key", "from the shell")

    assert b"name is Temis" in first.stdout
    # Its id is in the output.
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, first.stderr)
    assert (other.returncode, other.stdout) == (1, b"")
    assert b"was used for another program" in other.stderr


async def test_t2_m9_what_an_alarm_kept_from_being_confirmed_runs_once_with_a_key_and_not_at_all_without(
    make_hub: HubMaker, own_broker: OwnBroker
) -> None:
    url = own_broker.new_vhost_url()
    hub = make_hub(parts=("gateway",), bus_url=url)
    runner = HubProcess(hub.folder, parts=("runner",), bus_url=url, HUB_INSTANCE=hub.instance)
    try:
        async with user_of(hub) as api:
            await asyncio.to_thread(own_broker.control, "set_vm_memory_high_watermark", "0.00001")
            try:
                with_key = await ask(api, "under alarm")
                without = await api.call("POST", "/execute", {"program_id": "counts"})
                again = await ask(api, "under alarm")
            finally:
                await asyncio.to_thread(own_broker.control, "set_vm_memory_high_watermark", "0.4")
            assert (with_key[0], without[0], again[0]) == (503, 503, 503)
            kept, dropped = with_key[2]["execution_id"], without[2]["execution_id"]
            assert again[2]["execution_id"] == kept
            assert [with_key[2]["outcome"], without[2]["outcome"], again[2]["outcome"]] == ["unknown"] * 3
            assert without[1]["Location"] == f"/executions/{dropped}"

            async def answer() -> tuple[int, bool, Any]:
                return await ask(api, "under alarm")

            confirmed = await eventually(answer, lambda seen: seen[0] == 202, within_seconds=20)
            assert confirmed[2]["execution_id"] == kept

            async def withdrawn() -> bool:
                return "execution_withdrawn" in await asyncio.to_thread(hub.log)

            await eventually(withdrawn, within_seconds=20)
            await asyncio.to_thread(runner.start)
            last = await api.submit("counts")
            assert (await api.finished(kept))["status"] == "completed"
            assert (await api.finished(last))["status"] == "completed"
            assert sorted(starts(hub)) == sorted([kept, last])
    finally:
        runner.close()
