"""Tests on the real Docker engine: an image to run in, and nothing left behind."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from runner import labels

#: Debian with a Python, built here since no registry may be reachable.
IMAGE = "pyexecutorhub-test-python:local"
SOCKET = "/var/run/docker.sock"
#: Label of every container that the tests of this process make.
INSTANCE = f"test-{os.getpid()}"
#: Seconds in which Docker must have removed a container, whoever asked it to.
_REMOVE_SECONDS = 30.0

_DOCKERFILE = """\
FROM pyexecutorhub-debian:bookworm
RUN apt-get update \\
    && apt-get install -y --no-install-recommends python3-minimal \\
    && rm -rf /var/lib/apt/lists/* \\
    && ln -s python3 /usr/bin/python
CMD ["python", "-c", "print('the image runs its own command')"]
"""


def docker(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """What the docker command line prints."""
    done = subprocess.run(
        ["docker", *arguments], input=stdin, capture_output=True, text=True, env={**os.environ, "DOCKER_BUILDKIT": "0"}
    )
    if check and done.returncode != 0:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


def inspect(name: str) -> dict[str, Any]:
    """All that Docker knows of a container."""
    (container,) = json.loads(docker("inspect", name))
    found: dict[str, Any] = container
    return found


def remove(*names: str) -> None:
    """Remove containers, of which Docker may be removing some already.

    Raises:
        AssertionError: one is still there after a while; the text has what Docker says.
    """
    deadline = time.monotonic() + _REMOVE_SECONDS
    for name in names:
        while docker("ps", "--all", "--quiet", "--no-trunc", f"--filter=name=^/{name}$"):
            docker("rm", "--force", "--volumes", name, check=time.monotonic() > deadline)


def containers(**wanted: str) -> list[str]:
    """Names of the containers, running or not, that carry these labels of ours."""
    keys = {"instance": labels.INSTANCE, "execution_id": labels.EXECUTION_ID}
    filters = [f"--filter=label={keys[key]}={value}" for key, value in wanted.items()]
    found = docker("ps", "--all", "--format={{.Names}}", *filters).split()
    if (execution_id := wanted.get("execution_id")) is not None:
        # One that was kept warm is older than its execution, and has no more of it than its name.
        found += docker("ps", "--all", "--format={{.Names}}", f"--filter=name=^/{execution_id}$").split()
    return sorted(set(found))


@pytest.fixture(scope="session")
def docker_instance() -> Iterator[str]:
    """The label's value for this process; its containers are gone in the end."""
    yield INSTANCE
    if left := containers(instance=INSTANCE):
        remove(*left)
    for kind in ("network", "volume"):  # of Compose projects
        if left := docker(kind, "ls", "--quiet", f"--filter=label={labels.INSTANCE}={INSTANCE}").split():
            docker(kind, "rm", *left)


@pytest.fixture(scope="session")
def python_image() -> str:
    """The image to run programs in."""
    if not docker("images", "--quiet", IMAGE):
        docker("build", "--network", "bridge", "--tag", IMAGE, "-", stdin=_DOCKERFILE)
    return IMAGE


#: Debian without bash, and with a Node.
SMALL_IMAGE = "pyexecutorhub-test-small:local"
_SMALL_DOCKERFILE = """\
FROM pyexecutorhub-debian:bookworm
RUN apt-get update \\
    && apt-get install -y --no-install-recommends nodejs \\
    && rm -rf /var/lib/apt/lists/* /bin/bash /usr/bin/bash
CMD ["sh"]
"""


@pytest.fixture(scope="session")
def small_image() -> str:
    """An image with sh and node, and without bash and python."""
    if not docker("images", "--quiet", SMALL_IMAGE):
        docker("build", "--network", "bridge", "--tag", SMALL_IMAGE, "-", stdin=_SMALL_DOCKERFILE)
    return SMALL_IMAGE
