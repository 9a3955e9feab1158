"""Docker is asked for no more starts at once than there are places."""

from collections.abc import AsyncIterator

import pytest

from bus.messages import CANCELLED, End
from runner.docker_engine import DockerEngine
from runner.identity import Identity
from runner.start_gate import Priority, StartGate
from schemas.status import Status
from tests.integration.runner.conftest import MakeHub
from tests.support.docker import SOCKET, containers
from tests.support.wait import eventually


@pytest.fixture
def gate() -> StartGate:
    return StartGate(1)


@pytest.fixture
async def engine(identity: Identity, gate: StartGate) -> AsyncIterator[DockerEngine]:
    """An engine behind this gate."""
    engine = DockerEngine(identity=identity, socket_path=SOCKET, gate=gate)
    yield engine
    await engine.close()


async def waiting(gate: StartGate, count: int) -> None:
    async def how_many() -> int:
        return gate.waiting(Priority.JOB)

    await eventually(how_many, lambda seen: seen == count)


async def test_nothing_is_made_or_started_until_there_is_a_place(hub: MakeHub, gate: StartGate) -> None:
    around = hub("print('here')")
    async with around.runner():
        async with gate.start(Priority.REFILL):
            ids = [await around.submit() for _ in range(3)]
            await waiting(gate, 3)
            assert [containers(execution_id=each) for each in ids] == [[], [], []]
        ends = [await around.ended(each) for each in ids]

    assert [ended.status for ended in ends] == [Status.COMPLETED] * 3
    assert gate.taken == 0


async def test_m2_who_is_cancelled_while_it_waits_for_a_place_never_starts_and_holds_up_nobody(
    hub: MakeHub, gate: StartGate
) -> None:
    around = hub("print('here')")
    async with around.runner():
        async with gate.start():
            gone, other = await around.submit(), await around.submit()
            await waiting(gate, 2)
            await around.bus.decisions.decide(End(execution_id=gone, reason=CANCELLED))
            assert (await around.ended(gone)).status is Status.CANCELLED
            await waiting(gate, 1)
        assert (await around.ended(other)).status is Status.COMPLETED

    assert gate.taken == 0


async def test_the_engine_s_host_says_how_many_places_there_are(identity: Identity) -> None:
    gate = StartGate()
    gate.learn_cores(99)
    engine = DockerEngine(identity=identity, socket_path=SOCKET, gate=gate)
    await engine.data_root()
    assert 2 <= gate.places < 2 * 99
    await engine.close()
