"""A runner that is killed again and again comes back to what it had started."""

from pathlib import Path

import pytest

from tests.faults.adoption import kill_again_and_again
from tests.faults.failpoint_hub import FailpointHub
from tests.support.broker import Broker

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(240)]


@pytest.mark.parametrize("bus", ["embedded", "rabbitmq"])
async def test_fault1_m10_killed_at_random_while_programs_run_none_is_lost_and_no_output_missing(
    tmp_path: Path, bus: str, request: pytest.FixtureRequest
) -> None:
    broker: Broker | None = request.getfixturevalue("broker") if bus == "rabbitmq" else None
    async with FailpointHub(tmp_path, broker.new_vhost_url() if broker else bus).opened() as hub:
        found = await kill_again_and_again(hub, 5, seed=20261125)
    assert len(found.seconds) == 5, found
    # How soon it should be, the benchmark says; here the machine may be busy with anything.
    assert max(found.seconds) < 30, found
