"""A process dies at each failpoint, in the middle of what it does there: each execution starts once, and ends once."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping

import pytest
import structlog

from tests.faults.failpoint_cases import CASES, Case
from tests.faults.failpoint_hub import FailpointHub
from tests.support.broker import OwnBroker
from tests.support.compose import V2, made

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(1500)]

log = structlog.get_logger()

#: Hubs on RabbitMQ that work through the table side by side.
HUBS = 3
#: Seconds that one case may take.
LIMIT_SECONDS = 240.0

Outcomes = Mapping[Case, BaseException | None]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, own_broker: OwnBroker) -> Outcomes:
    """What became of each case that was asked for. They are run side by side, since each of them mostly waits."""
    made("v2")
    folder = tmp_path_factory.mktemp("failpoints")
    numbers = itertools.count()

    def hub(bus: str) -> FailpointHub:
        own = folder / f"{bus}{next(numbers)}"
        own.mkdir()
        return FailpointHub(own, "embedded") if bus == "embedded" else FailpointHub(own, own_broker.new_vhost_url(), str(V2))

    return asyncio.run(_play([case for case in CASES if _is_wanted(case, request)], hub))


def _is_wanted(case: Case, request: pytest.FixtureRequest) -> bool:
    asked = (getattr(item, "callspec", None) for item in request.session.items)
    return any(callspec is not None and callspec.params.get("case") is case for callspec in asked)


async def _play(cases: list[Case], make_hub: Callable[[str], FailpointHub]) -> Outcomes:
    found: dict[Case, BaseException | None] = {}

    async def work(bus: str, waiting: deque[Case]) -> None:
        while waiting:
            async with make_hub(bus).opened() as hub:
                failed = False
                while waiting and not failed:  # after a failure in a hub of its own, which nothing is left in
                    case, began = waiting.popleft(), time.monotonic()
                    try:
                        async with asyncio.timeout(LIMIT_SECONDS):
                            await case.scene(hub, case.death)
                        found[case] = None
                    except (Exception, ExceptionGroup) as error:
                        found[case], failed = error, True
                    log.info("case played", case=str(case), seconds=round(time.monotonic() - began, 1))

    by_bus = {bus: deque(case for case in cases if case.bus == bus) for bus in ("embedded", "rabbitmq")}
    async with asyncio.TaskGroup() as group:
        for bus, hubs in (("embedded", 1), ("rabbitmq", HUBS)):
            for _ in range(hubs):
                group.create_task(work(bus, by_bus[bus]))
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fault1_fault2_fault3_t5_killed_at_a_failpoint_each_execution_starts_once_and_ends_once(
    case: Case, outcomes: Outcomes
) -> None:
    if (error := outcomes[case]) is not None:
        raise error


@pytest.mark.parametrize("case", [case for case in CASES if case.points == ("gateway.accepted",)], ids=str)
def test_fault8_m9_a_gateway_killed_before_it_answers_is_asked_again_and_that_is_one_execution(
    case: Case, outcomes: Outcomes
) -> None:
    if (error := outcomes[case]) is not None:
        raise error
