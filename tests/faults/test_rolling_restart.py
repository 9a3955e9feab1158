"""Gateways and runners are restarted one after the other under load, and nobody notices."""

from pathlib import Path

import pytest

from tests.faults.rolling import Fleet, roll
from tests.support.broker import Broker

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(300)]


async def test_fault24_m26_restarted_one_after_the_other_under_load_no_request_fails_and_no_program_is_killed(
    tmp_path: Path, broker: Broker
) -> None:
    async with Fleet(tmp_path, broker.new_vhost_url()).opened() as fleet:
        rolled = await roll(fleet, rounds=1)

    assert rolled.failures == {}, rolled.answers
    assert len(rolled.accepted) > 10
    assert len(rolled.stops) == 4
    assert max(rolled.stops) < 10, rolled.stops
