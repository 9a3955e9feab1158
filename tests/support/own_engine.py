"""A Docker engine of a test's own, in a container, that may be killed, stopped, frozen and restarted.

It is dockerd and containerd apart, so that dockerd may die while containers run on, as where systemd starts both. The image is
made by tools/engine_image.sh. Folders below the one given are mounted under the same path, and the socket lies in it.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.support.docker import docker

IMAGE = "pyexecutorhub-test-engine"
_LABEL = "io.pyexecutorhub.test.engine-of-pid"
#: What dockerd needs. All at once (--privileged) is not to be had everywhere.
_CAPABILITIES = (
    *(
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_BIND_SERVICE",
    ),
    *("NET_ADMIN", "NET_RAW", "IPC_LOCK", "SYS_CHROOT", "SYS_PTRACE", "SYS_ADMIN", "MKNOD", "AUDIT_WRITE", "SETFCAP", "SYSLOG"),
)
_START_LIMIT_SECONDS = 60.0
_PID_FILE = "/var/run/docker.pid"

Signal = Literal["KILL", "TERM", "STOP", "CONT"]


class OwnEngine:
    """One engine. :meth:`remove` it in the end."""

    def __init__(self, shared: Path) -> None:
        """``shared`` is the folder whose files programs may mount."""
        _sweep()
        # A socket's path has to be short.
        self._folder = Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp"))
        self.socket = self._folder / "docker.sock"
        self.name = f"pyexecutorhub-test-engine-{os.getpid()}-{self._folder.name.removeprefix('engine-')}"
        self._live_restore = False
        docker(
            *("run", "--detach", "--init", "--name", self.name, "--label", f"{_LABEL}={os.getpid()}"),
            *(f"--cap-add={capability}" for capability in _CAPABILITIES),
            *("--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"),
            *("--security-opt", "apparmor=unconfined"),
            *("--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"),
            *("--volume", f"{self._folder}:{self._folder}", "--volume", f"{shared}:{shared}"),
            IMAGE,
        )

    @property
    def address(self) -> str:
        """What ``DOCKER_HOST`` is set to."""
        return f"unix://{self.socket}"

    def start(self, *, live_restore: bool | None = None) -> None:
        """Start dockerd, again or for the first time, and wait until it answers; as before where nothing is said."""
        if live_restore is not None:
            self._live_restore = live_restore
        options = ["--live-restore"] if self._live_restore else []
        self._inside(f"rm -f {_PID_FILE}")
        docker(
            *("exec", "--detach", self.name, "sh", "-c"),
            f"exec dockerd --containerd /run/containerd/containerd.sock --host {self.address} {' '.join(options)} "
            f">>{self._folder}/dockerd.log 2>&1",
        )
        deadline = time.monotonic() + _START_LIMIT_SECONDS
        while not self.answers():
            assert time.monotonic() < deadline, f"dockerd did not start: {self.log()[-4000:]}"
            time.sleep(0.1)

    def start_if_down(self) -> None:
        """Start dockerd where it does not answer."""
        if not self.answers():
            self.start()

    def signal(self, signal: Signal) -> None:
        """Send dockerd a signal."""
        self._inside(f"kill -{signal} $(cat {_PID_FILE})")

    def end(self, signal: Signal) -> None:
        """End dockerd by a signal, and wait until it is gone."""
        self._inside(f"pid=$(cat {_PID_FILE}); kill -{signal} $pid; while kill -0 $pid 2>/dev/null; do sleep 0.02; done")

    def restart(self, signal: Signal) -> None:
        """End dockerd by a signal, and start it again."""
        self.end(signal)
        self.start()

    def lose_power(self) -> None:
        """End the engine and all that runs on it at once, for good or until :meth:`power_on`."""
        docker("kill", self.name)

    def power_on(self) -> None:
        """Boot, after :meth:`lose_power`, and wait until dockerd answers."""
        docker("start", self.name)
        self.start_if_down()

    def docker(self, *arguments: str, check: bool = True) -> str:
        """What the docker command line prints, on this engine."""
        return docker("--host", self.address, *arguments, check=check)

    def load(self, image: str) -> None:
        """Bring an image of the machine's own engine onto this one."""
        command = 'docker save "$1" | docker --host "$2" load'
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command, "-", image, self.address], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def answers(self) -> bool:
        """Whether dockerd answers."""
        return bool(self.docker("version", "--format", "{{.Server.Version}}", check=False))

    def log(self) -> str:
        """What dockerd has logged."""
        return (self._folder / "dockerd.log").read_text(encoding="utf-8", errors="replace")

    def remove(self) -> None:
        """Remove it with everything on it."""
        docker("rm", "--force", "--volumes", self.name)
        subprocess.run(["rm", "-rf", str(self._folder)], check=True)

    def _inside(self, command: str) -> None:
        docker("exec", self.name, "sh", "-c", command)


@pytest.fixture(scope="session")
def own_engine(tmp_path_factory: pytest.TempPathFactory, python_image: str) -> Iterator[OwnEngine]:
    """An engine with the image that tests run programs in; the folders of all tests can be mounted."""
    engine = OwnEngine(tmp_path_factory.getbasetemp())
    try:
        engine.start(live_restore=False)
        engine.load(python_image)
        yield engine
    finally:
        engine.remove()


def _sweep() -> None:
    """Remove what a session that was killed left behind; those that live are somebody else's."""
    for line in docker(
        "ps", "--all", f"--filter=label={_LABEL}", f'--format={{{{.ID}}}} {{{{.Label "{_LABEL}"}}}}'
    ).splitlines():
        container, _, owner = line.partition(" ")
        if not os.path.exists(f"/proc/{owner}"):
            # Another session may be about it too.
            docker("rm", "--force", "--volumes", container, check=False)
