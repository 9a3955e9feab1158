"""Requirements on the real engine: installed once by a real pip, used without any network from then on."""

import asyncio
import json
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from runner import labels
from runner.docker_engine import DockerEngine
from runner.environment_config import REPOSITORY
from runner.identity import Identity
from runner.lines import HUB, PIP
from schemas.events import Ended
from schemas.progress_events import Phase
from schemas.reasons import Category, Reason
from schemas.status import Status
from tests.integration.runner.conftest import MakeHub
from tests.support.docker import SOCKET, containers, docker, remove
from tests.support.runner_fixtures import Hub
from tests.support.wait import eventually

#: Python, pip and nothing else; built by ``make images``.
BASE = "pyexecutorhub-base"
#: Small, pure, and in no image: what is installed by it can be imported as ``six``.
SIX = "six==1.16.0\n"
NO_INDEX = "PIP_INDEX_URL=http://127.0.0.1:9/simple\nPIP_RETRIES=1\n"


def environments(identity: Identity) -> list[str]:
    """The images that were made for this hub."""
    wanted = f"--filter=label={labels.INSTANCE}={identity.instance}"
    return docker("images", "--format={{.Repository}}:{{.Tag}}", wanted, f"--filter=reference={REPOSITORY}").split()


@pytest.fixture
def identity(identity: Identity) -> Iterator[Identity]:
    """A hub of the test's own, as environments belong to the hub and not to the runner; they are gone in the end."""
    own = Identity(f"{identity.instance}-{identity.runner_id}", identity.runner_id)
    yield own
    if left := containers(instance=own.instance):
        remove(*left)
    if made := environments(own):
        docker("rmi", "--force", "--no-prune", *made)


@pytest.fixture
def ca_bundle() -> Path | None:
    """What this machine trusts, where that is more than others do."""
    path = os.environ.get("PIP_CERT")
    return Path(path) if path else None


class Project:
    """A hub and the folder of its one program."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.folder = hub.catalogues.current.project_dir / "example"

    def write(self, **files: str) -> None:
        """Write files into the program's folder, ``__`` standing for the dot."""
        for name, text in files.items():
            path = self.folder / name.replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    async def run(self, **parameters: Any) -> Ended:
        """Run the program once, in a runner of its own."""
        async with self.hub.runner():
            return await self.hub.ended(await self.hub.submit(**parameters), within_seconds=90)


@pytest.fixture
def project(hub: MakeHub, ca_bundle: Path | None) -> Project:
    """A program that says which six it imports."""
    made = hub("import six; print(six.__version__)", settings={"docker_image": BASE})
    made.ca_bundle = ca_bundle
    return Project(made)


async def test_r4_m36_requirements_are_installed_once_and_used_without_network_from_then_on(
    project: Project, identity: Identity
) -> None:
    project.write(requirements__txt=SIX)
    async with project.hub.runner():
        ids = [await project.hub.submit() for _ in range(3)]
        first = [await project.hub.ended(execution_id, within_seconds=90) for execution_id in ids]
    (environment,) = environments(identity)

    for execution_id, ended in zip(ids, first, strict=True):
        assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "1.16.0\n"), ended
        assert "[pip] Successfully installed six-1.16.0\n" in (ended.lines_before or "")
        phases = {step.phase for step in project.hub.progress(execution_id)}
        assert phases == {Phase.INSTALL}

    # No container for pip is made any more, so there is nothing that could ask an index.
    with docker_events() as events:
        again = await project.run()
    assert (again.status, again.stdout.content) == (Status.COMPLETED, "1.16.0\n")
    assert again.lines_before == "[hub] requirements.txt: installed before\n"
    assert [name for name in events() if name.startswith(REPOSITORY)] == []
    assert environments(identity) == [environment]
    assert containers(instance=identity.instance) == []


class docker_events:  # noqa: N801 - used as a function
    """The names of the containers that Docker makes meanwhile."""

    def __enter__(self) -> Any:
        self._since = docker("info", "--format", "{{.SystemTime}}")
        return lambda: [json.loads(line)["Actor"]["Attributes"]["name"] for line in self._read().splitlines()]

    def _read(self) -> str:
        until = docker("info", "--format", "{{.SystemTime}}")
        return docker(
            "events", "--since", self._since, "--until", until, "--filter", "event=create", "--filter", "type=container",
            "--format", "{{json .}}",
        )  # fmt: skip

    def __exit__(self, *_: object) -> None:
        pass


async def test_an_environment_keeps_all_that_its_image_says_of_itself(
    project: Project, identity: Identity, engine: DockerEngine
) -> None:
    image = f"pyexecutorhub-test-user:{identity.runner_id}"
    dockerfile = f'FROM {BASE}\nENV FROM_IMAGE=yes\nWORKDIR /srv\nUSER 1234:1234\nENTRYPOINT ["python"]\nCMD ["-c", "print(1)"]'
    docker("build", "--tag", image, "-", stdin=dockerfile)
    try:
        project.hub.set_settings(docker_image=image)
        project.write(requirements__txt=SIX, __env="PIP_SECRET=hidden\n", main__py="import os, six; print(os.getuid())")
        ended = await project.run()
        assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "1234\n"), ended

        (environment,) = environments(identity)
        was, is_ = (json.loads(docker("inspect", name))[0]["Config"] for name in (image, environment))
        for key in ("Entrypoint", "Cmd", "User", "Env", "WorkingDir"):
            assert is_[key] == was[key], key
        assert "hidden" not in docker("inspect", environment) + docker("history", "--no-trunc", environment)
        assert is_["Labels"][labels.RUNNER_ID] == ""
        docker("rmi", "--force", "--no-prune", environment)
    finally:
        docker("rmi", "--force", "--no-prune", image)


async def test_the_owner_of_the_folder_imports_what_root_installed(project: Project) -> None:
    project.write(requirements__txt=SIX, main__py="import os, six; print(os.getuid(), six.__version__)")
    os.chown(project.folder, 4321, 4321)
    project.folder.chmod(0o700)
    ended = await project.run()
    assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "4321 1.16.0\n"), ended


async def test_r4_v2_what_can_not_be_installed_fails_with_pips_words(project: Project, identity: Identity) -> None:
    project.write(requirements__txt="six==0.0.99\n")
    ended = await project.run()

    assert (ended.status, ended.reason, ended.category) == (Status.FAILED, Reason.MISSING_DEPENDENCIES, Category.FILE)
    assert (ended.started_at, ended.exit_code) == (None, None)
    message = ended.message or ""
    assert message.startswith("Missing dependencies: requirements.txt of program 'example' could not be installed: pip exited")
    assert "ERROR: No matching distribution found for six==0.0.99" in message
    assert "[pip] ERROR: No matching distribution found for six==0.0.99\n" in (ended.lines_before or "")
    assert (environments(identity), containers(instance=identity.instance)) == ([], [])


async def test_v4_an_index_that_can_not_be_reached_is_the_networks_fault(project: Project) -> None:
    project.write(requirements__txt=SIX, __env=NO_INDEX)
    ended = await project.run()

    assert (ended.status, ended.reason, ended.category) == (Status.FAILED, Reason.NETWORK, Category.SYSTEM)
    assert "The package index could not be reached." in (ended.message or "")


async def test_an_installation_that_takes_too_long_is_ended(project: Project, identity: Identity) -> None:
    project.hub.set_settings(install_timeout_seconds=2.0)
    project.write(requirements__txt="./slow\n")
    (project.folder / "slow").mkdir()
    (project.folder / "slow" / "setup.py").write_text("import time; print('sleeping', flush=True); time.sleep(60)")
    ended = await project.run()

    assert (ended.reason, ended.category) == (Reason.MISSING_DEPENDENCIES, Category.FILE)
    assert "could not be installed within 2 s (install_timeout_seconds)" in (ended.message or "")
    assert containers(instance=identity.instance) == []


async def test_a_runner_that_stops_ends_the_installation_and_its_container(project: Project, identity: Identity) -> None:
    project.write(requirements__txt="./slow\n")
    (project.folder / "slow").mkdir()
    (project.folder / "slow" / "setup.py").write_text("import time; time.sleep(60)")

    async def made() -> list[str]:
        return containers(instance=identity.instance)

    async with project.hub.runner(stop_limit_seconds=1):
        execution_id = await project.hub.submit()
        await eventually(made)
    assert await made() == []
    assert project.hub.events(execution_id) == []


async def test_a_runner_that_stops_while_docker_makes_the_container_for_pip_leaves_none(
    project: Project, identity: Identity
) -> None:
    """Docker lists a container a moment before it knows it by its name, and can remove it."""
    project.write(requirements__txt=SIX)
    labelled = {"label": [f"{labels.INSTANCE}={identity.instance}"]}

    async with aiodocker.Docker(url=f"unix://{SOCKET}") as listing, project.hub.runner(stop_limit_seconds=1):
        await project.hub.submit()
        async with asyncio.timeout(30):
            while not await listing.containers.list(all=True, filters=labelled):
                pass
    assert containers(instance=identity.instance) == []


async def test_m46_what_pip_is_at_work_in_is_no_stray_until_nobody_waits_for_it(
    project: Project, identity: Identity, engine: DockerEngine
) -> None:
    # Given an installation that takes its time
    project.write(requirements__txt="./slow\n")
    project.write(**{"slow/setup__py": "import time; time.sleep(60)"})
    async with project.hub.crashing_runner():
        await project.hub.submit()

        async def at_work() -> list[str]:
            return containers(instance=identity.instance)

        (name,) = await eventually(at_work)
        # Then whoever sweeps beside it leaves it alone
        assert [(each.name, each.is_in_use) for each in await engine.belongings()] == [(name, True)]
    # And another process, which knows of no installation, takes it for what it is
    docker("create", f"--label={labels.INSTANCE}={identity.instance}", f"--label={labels.RUNNER_ID}={identity.runner_id}", BASE)
    assert [each.is_in_use for each in await engine.belongings()] == [False]


async def test_packages_in_the_folder_are_installed_and_again_when_they_change(project: Project, identity: Identity) -> None:
    package = project.folder / "lib"
    package.mkdir()
    (package / "setup.py").write_text("from setuptools import setup; setup(name='mine', version='1', py_modules=['mine'])")
    (package / "mine.py").write_text("word = 'first'\n")
    project.write(
        requirements__txt="./lib\n",
        main__py="import mine; print(mine.word)",
        __env="PIP_NO_INDEX=1\nPIP_NO_BUILD_ISOLATION=0\n",
    )
    first = await project.run()
    (package / "mine.py").write_text("word = 'second'\n")
    second = await project.run()

    assert (first.stdout.content, second.stdout.content) == ("first\n", "second\n"), (first, second)
    assert sorted(path.name for path in package.iterdir()) == ["mine.py", "setup.py"]
    assert len(environments(identity)) == 2


async def test_an_image_without_pip_runs_its_program_as_it_is(project: Project, python_image: str, small_image: str) -> None:
    project.write(requirements__txt=SIX, main__py="print('ran')", main__sh="echo ran")
    project.hub.set_settings(docker_image=python_image)
    for _ in range(2):
        ended = await project.run()
        assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "ran\n"), ended
        assert ended.lines_before == f"{HUB} requirements.txt was not installed: the image has no pip\n"


async def test_h5_the_actions_requirements_are_installed_for_every_program(project: Project) -> None:
    actions = project.folder.parent / "actions"
    actions.mkdir()
    (actions / "requirements.txt").write_text(SIX)
    (actions / "act_before.py").write_text("import six; print('six', six.__version__)")
    project.write(main__py="print('ran')")
    ended = await project.run()

    assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "ran\n"), ended
    assert "[act_before] six 1.16.0\n" in (ended.lines_before or "")
    assert f"{PIP} Successfully installed six-1.16.0\n" in (ended.lines_before or "")
