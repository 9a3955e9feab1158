"""The fleet of docker-compose.yml, in a fresh clone, with the commands that its users type."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documentation import code_blocks
from tests.support.hub_process import ROOT
from tests.support.ports import free_port
from tests.support.project_copy import copy_project

BUILD = ROOT / ".build"
#: Names of the images that the tests build, so that those of a hub on the same machine stay as they are.
IMAGES = {
    "HUB_IMAGE": "pyexecutorhub-test-full:hub",
    "HUB_BASE_IMAGE": "pyexecutorhub-test-full:base",
    "HUB_DOCKER_IMAGE": "pyexecutorhub-test-full:base",
    "HUB_RABBITMQ_IMAGE": "pyexecutorhub-test-full:rabbitmq",
}
_STEERING = ("HUB_", "COMPOSE_", "API_", "DOCKER_BUILDKIT", "HOST_PROJECT_DIR", "VIRTUAL_ENV")
#: Seconds for a command; building all the images takes up to four minutes.
_COMMAND_SECONDS = 900


class Fleet:
    """A clone, and a shell in it."""

    def __init__(self, folder: Path, *, plugin: bool = True) -> None:
        """``plugin``: with ``docker compose``, and else with ``docker-compose`` alone."""
        self.folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.project = f"hub-test-full-{os.getpid()}-{self.port}"
        self.api_container = f"{self.project}-api"
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(_STEERING)}
        names = {
            "COMPOSE_PROJECT_NAME": self.project,
            "HUB_API_CONTAINER": self.api_container,
            "API_PORT": str(self.port),
            **IMAGES,
        }
        if plugin:
            self._environment["DOCKER_CONFIG"] = str(BUILD / "docker-config")
        else:
            self._environment["DOCKER_CONFIG"] = str(folder / "no-plugins")
            self._environment["PATH"] = f"{BUILD / 'compose-v1'}:{os.environ['PATH']}"
            # What the other asks Docker for is told here, as users of the seed do.
            names["HOST_PROJECT_DIR"] = str(folder)
        self._lines = "".join(f"{name}={value}\n" for name, value in names.items())
        self.edit_env()

    def edit_env(self) -> None:
        """Write this fleet's own names into ``.env``; the last line of a name counts."""
        with (self.folder / ".env").open("a", encoding="utf-8") as file:
            file.write(self._lines)

    def attempt(self, command: str) -> subprocess.CompletedProcess[str]:
        """What a person types, and how it ends."""
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )

    def type(self, command: str) -> str:
        """What a person types; what is printed. It must end well."""
        done = self.attempt(command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def labelled(self, kind: str) -> list[str]:
        """Names of all that Docker has of this project: containers, volumes or networks."""
        words = {"container": "ps -a --format '{{.Names}}'"}.get(kind, f"{kind} ls --format '{{{{.Name}}}}'")
        return self.type(f"docker {words} --filter label=com.docker.compose.project={self.project}").split()

    def health(self) -> dict[str, str]:
        """Container → how Docker finds it; only those with a health check."""
        shown = self.type(
            "docker inspect --format '{{.Name}} {{with .State.Health}}{{.Status}}{{end}}' "
            + " ".join(self.labelled("container"))
        )
        return dict(line.split(" ", 1) for line in shown.splitlines() if not line.endswith(" "))

    def await_health(self, *, within_seconds: float = 120.0) -> None:
        """Until all four services are healthy."""
        deadline = time.monotonic() + within_seconds
        while (health := self.health()) and set(health.values()) != {"healthy"}:
            assert time.monotonic() < deadline, f"{health}\n{self.logs()}"
            time.sleep(0.5)
        assert len(health) == 4, health

    def logs(self) -> str:
        """The end of what every container said."""
        return "".join(self.attempt(f"docker logs --tail 20 {name} 2>&1").stdout for name in self.labelled("container"))[-6000:]

    def remove(self) -> None:
        """Whatever is left of it; the images stay, for the next time."""
        for kind, command in (("container", "rm -f -v"), ("volume", "volume rm -f"), ("network", "network rm")):
            if names := self.labelled(kind):
                self.type(f"docker {command} {' '.join(names)}")


def made(folder: Path, *, plugin: bool = True) -> Iterator[Fleet]:
    """A fleet in a clone of its own, not started, and nothing left of it in the end."""
    fleet = Fleet(copy_project(folder), plugin=plugin)
    try:
        yield fleet
    finally:
        fleet.remove()


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Started as the README says."""
    copy, prepare, up, show = readme_block("cp env.example .env")
    for fleet in made(tmp_path_factory.mktemp("fleet") / "clone"):
        fleet.type(copy)
        fleet.edit_env()
        fleet.type(prepare)
        fleet.type(up)
        fleet.await_health()
        assert "Usuario: " in fleet.type(show)
        yield fleet


def readme_block(beginning: str) -> list[str]:
    """The lines of the block of our README that begins so."""
    blocks = code_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    (block,) = (block for block in blocks if block.startswith(beginning))
    return block.splitlines()
