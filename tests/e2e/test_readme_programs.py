"""The programs that the seed's README shows, typed anew, and its test script as the README builds and runs it."""

import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.conftest import user_of
from tests.support.api import Api
from tests.support.docker import docker
from tests.support.hub_process import ROOT, HubProcess

pytestmark = pytest.mark.docker

BASIC = """\
#!/usr/bin/env python3
import os
import sys

def main():
    print("Hello from PyExecutorHub!")
    print(f"Program ID: {os.getenv('PROGRAM_ID')}")
    print(f"Execution ID: {os.getenv('EXECUTION_ID')}")
    return 0

if __name__ == "__main__":
    sys.exit(main())
"""
WITH_PARAMETERS = """\
import os
print(f"Parameter 1: {os.getenv('PARAM_PARAM1', 'default')}")
print(f"Parameter 2: {os.getenv('PARAM_PARAM2', 'default')}")
"""
ARGPARSE = """\
import argparse
parser = argparse.ArgumentParser(description='My Program')
parser.add_argument('--process', help='Process name')
parser.add_argument('--verbose', action='store_true', help='Verbose output')
args = parser.parse_args()
print(f"Process: {args.process}")
print(f"Verbose: {args.verbose}")
"""
IMAGE = "test-script:latest"


@pytest.fixture(scope="module")
def script_image() -> str:
    """``cd scripts/test_script && docker build -t test-script:latest .``, from the Debian image that is there."""
    folder = ROOT / "scripts" / "test_script"
    docker("build", "--network", "bridge", "--build-arg", "BASE_IMAGE=pyexecutorhub-base", "--tag", IMAGE, str(folder))
    return IMAGE


@pytest.fixture
async def api(tmp_path: Path, script_image: str) -> AsyncIterator[Api]:
    hub = HubProcess(tmp_path)
    hub.write_program("basic", BASIC)
    hub.write_program("with_parameters", WITH_PARAMETERS)
    hub.write_program("argparse", ARGPARSE, parameters="--process proceso_2 --verbose")
    shutil.copytree(ROOT / "scripts" / "test_script", tmp_path / "scripts" / "test_script")
    paths = {"path": "scripts/test_script"}
    hub.edit(lambda config: config["scripts"].update(test_script=paths, in_its_image={**paths, "docker_image": script_image}))
    async with user_of(hub) as api:
        yield api


def expected(output: str, *, program: str, execution_id: str, name: str) -> bool:
    """Whether this is what the README shows, up to the time and the version."""
    line = "=" * 50
    pattern = "\n".join(
        [
            line,
            "🚀 PyExecutorHub Test Script",
            line,
            r"⏰ Execution Time: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
            f"📋 Program ID: {program}",
            f"🆔 Execution ID: {execution_id}",
            f"👋 Hola mundo {name}!",
            line,
            "🐳 Running inside Docker container",
            r"🐍 Python version: 3\..+",
            "📝 No custom parameters provided",
            line,
            "✅ Test script completed successfully!",
            line,
            "",
        ]
    )
    return re.fullmatch(pattern, output) is not None


@pytest.mark.parametrize("program", ["test_script", "in_its_image"])
async def test_r22_b16_the_test_script_prints_what_the_readme_shows_in_either_image(api: Api, program: str) -> None:
    record = await api.run(program)

    assert record["status"] == "completed"
    assert expected(record["output"], program=program, execution_id=record["execution_id"], name="Temis"), record["output"]


def test_r22_the_test_script_runs_by_hand_as_the_readme_does_it(script_image: str) -> None:
    words = ["docker", "run", "--rm", "-e", "MY_NAME=Temis", script_image]
    output = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout

    assert expected(output, program="unknown", execution_id="unknown", name="Temis"), output


async def test_r22_r6_the_other_programs_of_the_readme_run(api: Api) -> None:
    basic = await api.run("basic")
    assert basic["output"] == f"Hello from PyExecutorHub!\nProgram ID: basic\nExecution ID: {basic['execution_id']}\n"
    assert (await api.run("with_parameters", param1="one"))["output"] == "Parameter 1: one\nParameter 2: default\n"
    assert (await api.run("argparse"))["output"] == "Process: proceso_2\nVerbose: True\n"
