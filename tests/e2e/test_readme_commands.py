"""Every command block of our own README, run as it stands there against a live hub."""

import ast
import json
import shutil
import uuid
from collections.abc import Callable, Iterator

import aio_pika
import pytest

from tests.e2e.conftest import started
from tests.support.api import Api
from tests.support.broker import Broker
from tests.support.documentation import code_blocks
from tests.support.hub_process import ROOT, HubProcess
from tests.support.shell import Shell

pytestmark = pytest.mark.docker

README = list(code_blocks((ROOT / "README.md").read_text(encoding="utf-8")))

#: First line of a block that is no command for a terminal, or that this very run began with.
NOT_TYPED = (
    "curl / command line ──HTTP──▶ gateway ──┐",
    "make test               # everything but what is slow, from nothing, on real Docker and real RabbitMQ",
    "make bench              # everything, interleaved, three rounds: at most 40 minutes on two cores",
)
#: First line of a block → the test that runs it.
ELSEWHERE = {
    "./install.sh            # asks before it installs Docker; --yes for no questions": (
        "test_o2_o7_a1_install_runs_the_test_script_shows_credentials_once_and_stops_without_a_trace"
    ),
    "cp env.example .env                 # if you want to change something": (
        "test_o1_o3_b11_b12_one_command_builds_all_and_a_program_runs_on_either_runner"
    ),
    "pyexecutorhub sweep --dry-run        # what would be removed, and why; --json for programs": (
        "test_m46_a_dry_run_shows_what_would_go_beside_a_running_hub_and_a_sweep_removes_it_when_that_has_stopped"
    ),
    'retry: {max: 3, backoff: "2s", max_backoff: "5m", on: [failed, timeout, runner_lost]}': (
        "test_m8_the_readmes_retry_is_understood_for_a_program_and_for_all"
    ),
    "services:": "test_p18_o1_folders_outside_the_project_are_mounted_into_the_runners_as_the_readme_shows",
    "pyexecutorhub token create cron --scope run     # prints the token; --days 90 for one that ends by itself": (
        "test_m29_a_token_from_the_command_line_runs_programs_survives_kill_9_and_ends_when_revoked"
    ),
    "0 */8 * * * /path/to/execute_bot.sh 6": "test_o4_o5_m29_the_line_for_cron_works_as_typed_with_a_long_lived_token",
    '{"program_id": "example_script", "parameters": {"name": "Temis"}}': (
        "test_o9_the_readmes_command_is_published_onto_the_bus_and_runs_e5"
    ),
    '{"execution_id": "job-17", "reason": "took too long", "requested_by": "nightly job"}': (
        "test_m1_anybody_on_the_bus_may_cancel_as_the_readme_says_also_by_the_message_id_and_before_the_command"
    ),
}


def is_the_tour(said: str) -> bool:
    """Whether a reader has seen the programs, and an execution that was accepted."""
    programs, position = json.JSONDecoder().raw_decode(said)
    accepted = json.loads(said[position:])
    return {"example_script", "test_script"} <= {program["id"] for program in programs} and accepted["status"] == "queued"


#: First line of a block that is run here → whether what it printed is right.
TYPED: dict[str, Callable[[str], bool]] = {
    "TOKEN=$(curl -s -X POST http://localhost:8001/auth/login -H 'Content-Type: application/json' \\": is_the_tour,
    "curl -X POST http://localhost:8001/execute -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\": (
        lambda said: json.loads(said)["program_id"] == "example_script"
    ),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[HubProcess]:
    """The programs that the project ships, on RabbitMQ."""
    folder = tmp_path_factory.mktemp("hub")
    for name in ("scripts", "bots", "config.yaml"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    yield from started(HubProcess(folder, parts=("gateway", "runner"), bus_url=broker.new_vhost_url()))


@pytest.fixture(scope="module")
def shell(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(hub, tmp_path_factory.mktemp("home"))
    # A reader's terminal keeps it from the first block on; here each block has a terminal of its own.
    (first,) = (block for block in README if block.startswith("TOKEN=$("))
    shell.variables["TOKEN"] = shell.run(first + '\necho; echo "$TOKEN"').splitlines()[-1]
    return shell


def test_o9_each_block_of_the_readme_is_run_here_or_by_a_test_that_there_is() -> None:
    first = {block.splitlines()[0] for block in README}
    assert first == {*NOT_TYPED, *ELSEWHERE, *TYPED}
    written = {
        function.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert set(ELSEWHERE.values()) <= written


@pytest.mark.parametrize("block", [block for block in README if block.splitlines()[0] in TYPED])
def test_o9_the_blocks_of_the_readme_do_as_they_say_typed_as_they_stand(shell: Shell, block: str) -> None:
    said = shell.run(block)
    assert TYPED[block.splitlines()[0]](said), said


async def test_o9_the_readmes_command_is_published_onto_the_bus_and_runs_e5(hub: HubProcess, api: Api) -> None:
    (body,) = (block for block in README if block.startswith('{"program_id"'))
    execution_id = str(uuid.uuid4())
    connection = await aio_pika.connect(hub.environment["HUB_BUS_URL"])
    async with connection:
        channel = await connection.channel(on_return_raises=True)
        exchange = await channel.get_exchange("hub.commands", ensure=False)
        message = aio_pika.Message(body.encode(), message_id=execution_id, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await exchange.publish(message, "execute.default", mandatory=True)
    assert (await api.finished(execution_id))["status"] == "completed"
