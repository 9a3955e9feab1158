"""Programs that are kept warm, through a real hub on either bus."""

import asyncio

import pytest

from tests.e2e.conftest import HubMaker, user_of
from tests.support.broker import Broker
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]

SHOWS = """
import os, sys
print(os.environ["EXECUTION_ID"], os.environ.get("PARAM_NAME"), sys.argv[1:], os.path.exists("/tmp/mark"))
open("/tmp/mark", "w").close()
print("on the side", file=sys.stderr)
sys.exit(int(os.environ.get("PARAM_CODE", "0")))
"""


@pytest.fixture(params=["embedded", "rabbitmq"])
def hub(request: pytest.FixtureRequest, make_hub: HubMaker, broker: Broker) -> HubProcess:
    """A hub that keeps two containers warm."""
    if request.param == "embedded":
        return make_hub(HUB_WARM_CONTAINERS="2")
    return make_hub(parts=("gateway", "runner"), bus_url=broker.new_vhost_url(), HUB_WARM_CONTAINERS="2")


async def has_waiting(hub: HubProcess, count: int) -> list[str]:
    async def waiting() -> list[str]:
        return await asyncio.to_thread(hub.waiting, "running")

    return await eventually(waiting, lambda seen: len(seen) == count, within_seconds=60, every_seconds=0.1)


def warm_starts(hub: HubProcess) -> list[bool]:
    """Of each execution that was started, whether it was warm."""
    lines = [line for line in hub.log().splitlines() if "execution_started" in line]
    return ['"warm": true' in line or "warm=True" in line for line in lines]


async def test_a_program_that_was_used_is_kept_warm_and_runs_as_it_did_before(hub: HubProcess) -> None:
    hub.write_program("shows", SHOWS, parameters="--process 'two words'")
    async with user_of(hub) as api:
        for number, (name, code) in enumerate([("Temis", 0), ("it's\n$HOME", 3), ("", 127)]):
            if number:
                await has_waiting(hub, 1)
                await asyncio.sleep(0.5)  # a container runs a moment before it is ready
            record = await api.run("shows", name=name, code=code)
            assert record["output"] == f"{record['execution_id']} {name} ['--process', 'two words'] False\n"
            assert (record["error"].splitlines()[0], record["exit_code"]) == ("on the side", code)
            assert record["was_warm"] is warm_starts(hub)[-1]
        assert warm_starts(hub)[0] is False
        assert True in warm_starts(hub)[1:]
        # Stopped in good order, it leaves nothing.
        await asyncio.to_thread(hub.stop)
        assert hub.waiting() == hub.containers() == []


async def test_what_config_yaml_says_now_is_what_is_kept_warm(hub: HubProcess) -> None:
    hub.write_program("shows", SHOWS, warm=2, memory_limit="64m")
    async with user_of(hub) as api:
        first = set(await has_waiting(hub, 2))
        assert {hub.inspect(id_)["HostConfig"]["Memory"] for id_ in first} == {64 * 1024**2}
        hub.write_program("shows", SHOWS, warm=1, memory_limit="96m")

        async def limits() -> list[int]:
            seen = await asyncio.to_thread(hub.waiting, "running")
            return [hub.inspect(id_)["HostConfig"]["Memory"] for id_ in seen if id_ not in first]

        await eventually(limits, lambda seen: seen == [96 * 1024**2], within_seconds=60)
        assert (await api.run("shows"))["exit_code"] == 0
        hub.edit(lambda config: config["scripts"]["shows"].update(warm=0))
        await has_waiting(hub, 0)


async def test_m45_what_waited_for_a_runner_that_was_killed_is_gone_when_another_is_there(hub: HubProcess) -> None:
    hub.write_program("shows", SHOWS, warm=2)
    async with user_of(hub) as api:
        before = set(await has_waiting(hub, 2))
        hub.kill()
        hub.start()

        async def left() -> set[str]:
            return before & set(await asyncio.to_thread(hub.waiting))

        await eventually(left, lambda seen: not seen, within_seconds=60)
        assert len(await has_waiting(hub, 2)) == 2
        assert (await api.run("shows"))["exit_code"] == 0
