"""That a runner says that it is there, and that it answers."""

from pathlib import Path

from bus.messages import LEASE_SECONDS, Lease
from schemas.questions import ActiveContainers, ActiveContainersAnswer, parse_answer
from tests.support.runner_fixtures import IDENTITY, Hub, make_hub
from tests.support.wait import eventually


async def live(hub: Hub) -> list[Lease]:
    return hub.bus.leases_.live()


async def test_a_runner_is_there_with_what_it_can_do_until_it_stops_c1_c2(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, max_concurrent_executions=3)
    async with hub.runner():
        (lease,) = await eventually(lambda: live(hub), lambda leases: any(lease.engine_version for lease in leases))
        assert (lease.runner_id, lease.pool, lease.max_concurrent_executions) == (IDENTITY.runner_id, "default", 3)
        assert lease.engine_version == "fake 1.0"
        assert lease.started_at <= lease.written_at
        # A raised limit is told at once, and not with the next lease.
        kept = len(hub.bus.leases_.kept)
        hub.set_settings(max_concurrent_executions=7)
        await eventually(
            lambda: live(hub), lambda leases: leases[0].max_concurrent_executions == 7, within_seconds=LEASE_SECONDS
        )
        assert len(hub.bus.leases_.kept) == kept + 1
    assert await live(hub) == []
    assert hub.bus.leases_.kept[-1].leaves


async def test_a_runner_says_so_again_once_the_bus_is_back(tmp_path: Path) -> None:
    hub = make_hub(tmp_path)
    hub.bus.away = True
    async with hub.runner():
        assert await live(hub) == []
        hub.bus.away = False
        await eventually(lambda: live(hub))


async def test_a_runner_that_crashed_says_no_goodbye(tmp_path: Path) -> None:
    hub = make_hub(tmp_path)
    async with hub.crashing_runner():
        await eventually(lambda: live(hub))
    assert not any(lease.leaves for lease in hub.bus.leases_.kept)
    assert len(await live(hub)) == 1


async def test_a_runner_answers_while_a_program_runs_and_no_longer_than_it_runs_itself_c2(tmp_path: Path) -> None:
    hub = make_hub(tmp_path)

    async def ask() -> list[str]:
        question = ActiveContainers().to_bytes()
        for body in (await hub.bus.questions.ask([IDENTITY.runner_id], question, limit_seconds=1.0)).values():
            answer = parse_answer(body, ActiveContainersAnswer)
            assert isinstance(answer, ActiveContainersAnswer)
            return [container.name for container in answer.containers]
        return []

    async with hub.runner(stop_limit_seconds=0.0):
        execution_id = await hub.submit(sleep=30)
        await hub.is_running(execution_id)
        assert await ask() == [execution_id]
    assert await hub.bus.questions.ask([IDENTITY.runner_id], b"?", limit_seconds=1.0) == {}
