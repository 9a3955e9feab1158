"""Actions of the project's owner, as a user of HTTP sees them."""

from typing import Any

import pytest

from tests.e2e.conftest import HubMaker, user_of
from tests.support.broker import Broker

BEFORE = "import os; print('ready for', os.environ['PROGRAM_ID'])"
AFTER = "import os; print('it ended with', os.environ['EXIT_CODE'], 'for', os.environ['PARAM_NAME'])"
FAILS = "import sys; print('the work'); print('a complaint', file=sys.stderr); sys.exit(5)"


@pytest.mark.parametrize("bus", ["embedded", "rabbitmq"])
async def test_what_actions_print_is_in_the_logs_alone_h1_h2_h3_h6_b3(
    bus: str, make_hub: HubMaker, request: pytest.FixtureRequest
) -> None:
    elsewhere: dict[str, Any] = {}
    if bus == "rabbitmq":
        broker: Broker = request.getfixturevalue("broker")
        elsewhere = {"bus_url": broker.new_vhost_url(), "parts": ("gateway", "runner")}
    hub = make_hub(**elsewhere)
    hub.write_program("works", FAILS)
    (hub.folder / "actions").mkdir()
    (hub.folder / "actions" / "act_before.py").write_text(BEFORE)
    (hub.folder / "actions" / "act_after.py").write_text(AFTER)
    async with user_of(hub) as api:
        record = await api.run("works", name="Temis")
        logs = await api.get(f"/executions/{record['execution_id']}/logs")

    assert (record["status"], record["exit_code"]) == ("failed", 5)
    assert record["output"] == "the work\n"
    assert logs["output"] == "[act_before] ready for works\nthe work\n[act_after] it ended with 5 for Temis\n"
    assert logs["error"] == "a complaint\nProgram exited with code 5"
    assert (logs["output_lines"], logs["error_lines"]) == (3, 2)
