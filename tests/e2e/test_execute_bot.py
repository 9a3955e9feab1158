"""execute_bot.sh, as people and cron call it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import aiohttp
import pytest

from tests.e2e.conftest import HubMaker
from tests.support.api import Api
from tests.support.hub_process import PASSWORD, ROOT, USERNAME, HubProcess
from tests.support.ports import free_port

pytestmark = pytest.mark.docker

#: What cron gives its jobs, more or less.
CRON = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "root"}


@pytest.fixture
def hub(make_hub: HubMaker) -> Iterator[HubProcess]:
    hub = make_hub()
    hub.write_program("numbered", "import os\nprint(os.environ.get('PARAM_NAME'))", id=6)
    hub.start()
    shutil.copy2(ROOT / "execute_bot.sh", hub.folder)
    lines = (f"API_PORT={hub.port}", f"HUB_USERNAME={USERNAME}", f'HUB_PASSWORD="{PASSWORD}"')
    (hub.folder / "bot.env").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (hub.folder / "bot.env").rename(hub.folder / ".env")
    yield hub


def execute(hub: HubProcess, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Call it by its path, from another folder, with a tiny environment."""
    return subprocess.run(
        [str(hub.folder / "execute_bot.sh"), *arguments],
        env=CRON | variables,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_o4_o5_cron_runs_a_program_by_its_number_and_hears_its_execution_id(hub: HubProcess) -> None:
    done = execute(hub, "6")

    assert (done.returncode, done.stderr) == (0, "")
    said, execution_id = done.stdout.splitlines()
    assert said.startswith("Bot 6 execution triggered at ")
    parameters = execute(hub, "numbered", '{"name": "Temis \\"x\\" $HOME"}').stdout.splitlines()[1]
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        assert (await api.finished(execution_id))["status"] == "completed"
        assert (await api.finished(parameters))["output"] == 'Temis "x" $HOME\n'


def new_token(hub: HubProcess) -> str:
    """A long-lived token, as a script takes it."""
    words = [sys.executable, "-m", "hub", "token", "create", "cron", "--scope", "run", "--config", str(hub.config_path)]
    made = subprocess.run(words, env=hub.environment, cwd=hub.folder, capture_output=True, text=True, timeout=60, check=True)
    return made.stdout.strip()


async def test_o4_o5_m29_the_line_for_cron_works_as_typed_with_a_long_lived_token(hub: HubProcess) -> None:
    token = new_token(hub)
    (hub.folder / ".env").write_text(f"API_PORT={hub.port}\nHUB_TOKEN={token}\n", encoding="utf-8")
    (line,) = re.findall(r"^    (0 \*/8 \* \* \* .*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    typed = line.replace("/path/to", str(hub.folder)).split(maxsplit=5)[5]

    def cron() -> subprocess.CompletedProcess[str]:
        """As cron starts a job: its shell, its environment, the home of its user."""
        return subprocess.run(
            ["/bin/sh", "-c", typed], env=CRON, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )

    done = cron()
    assert (done.returncode, done.stderr) == (0, "")
    execution_id = done.stdout.splitlines()[1]
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        record = await api.finished(execution_id)
        assert (record["status"], record["submitted_by"]) == ("completed", f"{USERNAME}/cron")
        (made,) = await api.get("/auth/tokens")
        assert (await api.call("DELETE", f"/auth/tokens/{made['id']}"))[0] == 204

    refused = cron()
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "Could not validate credentials" in refused.stderr


def test_o4_what_goes_wrong_has_its_own_exit_status_and_words(hub: HubProcess) -> None:
    for arguments, variables, status, words in (
        ((), {}, 1, "Usage: "),
        (("6", "[1]"), {}, 1, "must be a JSON object"),
        (("6", "{"), {}, 1, "must be a JSON object"),
        (("6",), {"HUB_URL": f"http://127.0.0.1:{free_port()}"}, 2, "no hub answers"),
        (("nobody",), {}, 3, "Program with ID 'nobody' not found"),
        (("6",), {"HUB_PASSWORD": "wrong"}, 3, "Incorrect username or password"),
        (("6",), {"HUB_TOKEN": "wrong"}, 3, "Could not validate credentials"),
    ):
        done = execute(hub, *arguments, **variables)
        assert (done.returncode, done.stdout) == (status, ""), (arguments, variables, done.stderr)
        assert words in done.stderr


def test_p6_config_check_names_every_mistake_with_its_place_and_is_silent_about_none(hub: HubProcess) -> None:
    def check() -> subprocess.CompletedProcess[str]:
        words = ["pyexecutorhub", "config", "check", "--config", str(hub.config_path)]
        environment = hub.environment | {"PATH": os.environ["PATH"]}
        return subprocess.run(words, env=environment, cwd=hub.folder, capture_output=True, text=True, timeout=60, check=False)

    good = check()
    assert (good.returncode, good.stderr) == (0, "")
    assert "programs" in good.stdout
    hub.config_path.write_text("scripts:\n  a: {pth: x}\n  b: {path: y, enabled: perhaps}\n", encoding="utf-8")
    bad = check()
    assert bad.returncode == 2
    assert "config.yaml:2:7: program 'a', field 'pth': is not known: did you mean 'path'?" in bad.stderr
    assert "config.yaml:3:25: program 'b', field 'enabled': must be true or false" in bad.stderr
