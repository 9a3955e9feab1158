"""Somebody who comes from the seed, with config.yaml, programs, actions, .env and scripts as its README has them."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import started
from tests.support.docker import IMAGE as PYTHON_IMAGE
from tests.support.docker import docker, python_image
from tests.support.hub_process import HubProcess
from tests.support.seed_config import FOUR_SCRIPTS
from tests.support.shell import Shell

__all__ = ["python_image"]

pytestmark = pytest.mark.docker

ENV = """\
# Project configuration
HOST_PROJECT_DIR={project}
MAX_EXECUTIONS=50
EXECUTION_TIMEOUT=300

# Resource configuration
MEMORY_LIMIT=1g
CPU_LIMIT=0.5

# Network configuration
API_HOST=127.0.0.1
API_PORT=8001
"""
ACT_BEFORE = """\
import os
import logging

def main():
    program_id = os.getenv('PROGRAM_ID')
    execution_id = os.getenv('EXECUTION_ID')

    logging.info(f"Starting execution {execution_id} for program {program_id}")

    # Your pre-execution logic here
    print("🔧 Pre-execution actions completed")

if __name__ == "__main__":
    main()
"""
ACT_AFTER = """\
import os
import requests

def main():
    exit_code = os.getenv('EXIT_CODE', '0')
    program_id = os.getenv('PROGRAM_ID')

    if exit_code == '0':
        print("✅ Program completed successfully")
        # Send success notification
    else:
        print(f" Program failed with exit code {exit_code}")
        # Send failure notification

if __name__ == "__main__":
    main()
"""
SAYS = "import os, sys; print(os.environ['PROGRAM_ID'], sys.argv[1:], os.environ.get('DB_HOST'), os.environ.get('PARAM_NAME'))"
NEEDS_A_PACKAGE = "import six, sys; print('with six', sys.argv[1:]); sys.exit(3)"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, python_image: str) -> Iterator[HubProcess]:
    project, outside = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("outside")
    files = {
        project / "config.yaml": FOUR_SCRIPTS.replace("/docker/", f"{outside}/"),
        project / ".env": ENV.format(project=project),
        project / "actions" / "act_before.py": ACT_BEFORE,
        project / "actions" / "act_after.py": ACT_AFTER,
        project / "actions" / "requirements.txt": "requests\n",
        project / "scripts" / "example_script" / "main.py": SAYS,
        project / "scripts" / "custom_script" / "run.py": SAYS,
        project / "scripts" / "custom_script" / ".env": "DB_HOST='db.example' # quoted, as dotenv has it\n",
        project / "scripts" / "parameterized_script" / "main.py": SAYS,
        project / "bots" / "example_bot" / "run.py": NEEDS_A_PACKAGE,
        project / "bots" / "example_bot" / "requirements.txt": "six\n",
        outside / "scripts" / "external_script" / "run.py": SAYS,
        outside / "scripts" / "external_script" / ".env": "DB_HOST=elsewhere\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    images = [image for image in ("custom-image:latest", "external-script:latest") if not docker("images", "--quiet", image)]
    for image in images:
        docker("tag", PYTHON_IMAGE, image)
    try:
        yield from started(HubProcess(project))
    finally:
        if images:
            docker("rmi", *images)


@pytest.fixture(scope="module")
def shell(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(hub, tmp_path_factory.mktemp("home"))
    shell.variables["TOKEN"] = shell.run(
        """curl -s -X POST http://localhost:8001/auth/login \\
  -H "Content-Type: application/json" \\
  -d '{"username": "YOUR_USERNAME", "password": "YOUR_PASSWORD"}' | jq -r '.access_token'"""
    ).strip()
    return shell


@pytest.mark.parametrize(
    ("program", "status", "output", "after"),
    [
        ("example_script", "completed", "example_script [] None Temis", "✅ Program completed successfully"),
        (
            "script_with_parameters",
            "completed",
            "script_with_parameters ['--process', 'proceso_2', '--verbose'] None Temis",
            "✅ Program completed successfully",
        ),
        ("example_bot", "failed", "with six ['--mode', 'production', '--verbose']", " Program failed with exit code 3"),
        ("script_with_custom_image", "completed", "script_with_custom_image [] db.example Temis", None),
        ("external_script", "completed", "external_script [] elsewhere Temis", None),
    ],
)
def test_everything_that_a_user_of_the_seed_has_works_unchanged_p19_r3_r4_r6_r10_h1_h5(
    shell: Shell, program: str, status: str, output: str, after: str | None
) -> None:
    body = json.dumps({"program_id": program, "parameters": {"name": "Temis"}})
    record = json.loads(
        shell.run(
            "curl -X POST 'http://localhost:8001/execute?wait=120' -H \"Authorization: Bearer $TOKEN\""
            f" -H 'Content-Type: application/json' -d '{body}'"
        )
    )
    assert (record["status"], record["output"]) == (status, f"{output}\n"), record

    logs = shell.run(
        f'curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/executions/{record["execution_id"]}/logs | jq -r .output'
    )
    assert "[act_before] 🔧 Pre-execution actions completed\n" in logs
    if after is not None:
        assert f"[act_after] {after}\n" in logs
    else:
        # The images that stand in for the README's have no pip: what actions require is not there, and nothing else suffers.
        assert "[hub] act_after exited with code 1\n" in logs


def test_the_limits_of_the_seeds_files_hold_unchanged_p12_p14(shell: Shell) -> None:
    info = json.loads(shell.run('curl -H "Authorization: Bearer $TOKEN" http://localhost:8001/executions/info'))
    assert info["max_executions"] == 50
