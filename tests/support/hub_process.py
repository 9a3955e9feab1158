"""A real hub in processes of its own, on real files, as its users start it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
USERNAME = "tester"
PASSWORD = "a-password-for-tests"

#: Seconds in which the containers of a hub that was stopped can be removed.
_REMOVAL_SECONDS = 30.0


class HubProcess:
    """A hub with its project folder. ``up`` in one process, or ``gateway`` and ``runner`` in two, by ``parts``."""

    def __init__(self, folder: Path, *, parts: tuple[str, ...] = ("up",), bus_url: str = "embedded", **variables: str) -> None:
        self.folder = folder
        self.config_path = folder / "config.yaml"
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.instance = f"test-{os.getpid()}-{self.port}"
        #: What is run, by its parts as words.
        self.module = "hub"
        self._parts = parts
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HUB_")},
            "PYTHONPATH": str(ROOT),
            "HUB_BUS_URL": bus_url,
            "HUB_STATE_DIR": str(folder / "state"),
            "HUB_INSTANCE": self.instance,
            "HUB_USERNAME": USERNAME,
            "HUB_PASSWORD": PASSWORD,
            "HUB_LOG_LEVEL": "DEBUG",
            # Nobody looks elsewhere.
            "HUB_LEAVE_SECONDS": "0",
            # Tests of what is kept warm ask for it.
            "HUB_WARM_CONTAINERS": "0",
            "API_PORT": str(self.port),
            **variables,
        }

    def write_program(self, name: str, text: str, *, file: str = "main.py", **entry: object) -> None:
        """Put a program into the folder and into config.yaml."""
        program = self.folder / "scripts" / name
        program.mkdir(parents=True, exist_ok=True)
        (program / file).write_text(text, encoding="utf-8")
        self.edit(lambda config: config.setdefault("scripts", {}).update({name: {"path": f"scripts/{name}", **entry}}))

    def edit(self, change: object) -> None:
        """Change config.yaml, replacing the file in one step as editors do."""
        assert callable(change)
        config = yaml.safe_load(self.config_path.read_text(encoding="utf-8")) if self.config_path.exists() else {}
        change(config)
        self.edit_from(config)

    def edit_from(self, config: object) -> None:
        """Replace config.yaml by this content, in one step."""
        fresh = self.config_path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(config), encoding="utf-8")
        fresh.replace(self.config_path)

    def launch(self, **variables: str) -> None:
        """Start every part, with these variables besides, and wait for nothing."""
        for part in self._parts:
            self._launch(part, **variables)

    def _launch(self, part: str, **variables: str) -> None:
        with (self.folder / f"{part}.log").open("ab") as log:
            self._processes[part] = subprocess.Popen(
                [sys.executable, "-m", self.module, part, "--config", str(self.config_path)],
                env={**self.environment, **variables},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def start(self, *, part: str | None = None, within_seconds: float = 40.0) -> float:
        """Start every part, or one; seconds until it was ready to accept. A runner alone is not waited for."""
        started = time.monotonic()
        if part is None:
            self.launch()
        else:
            self._launch(part)
        while self._parts != ("runner",) and not self._is_ready():
            dead = [part for part, process in self._processes.items() if process.poll() is not None]
            assert not dead, f"{dead} ended: {self.log()[-4000:]}"
            assert time.monotonic() - started < within_seconds, f"not ready within {within_seconds} s: {self.log()[-4000:]}"
            time.sleep(0.02)
        return time.monotonic() - started

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health?ready=1", timeout=2) as answer:
                return json.load(answer)["status"] in ("healthy", "degraded")
        except (OSError, urllib.error.URLError):
            return False

    def death(self, *, within_seconds: float = 30.0) -> list[int]:
        """Wait until every part has ended by itself; their exit statuses, negative for a signal."""
        deadline = time.monotonic() + within_seconds
        try:
            statuses = [process.wait(timeout=max(0.0, deadline - time.monotonic())) for process in self._processes.values()]
        except subprocess.TimeoutExpired:
            raise AssertionError(f"a part lives on after {within_seconds} s: {self.log()[-4000:]}") from None
        self._processes.clear()
        return statuses

    @property
    def is_launched(self) -> bool:
        """Whether it was started, and neither stopped nor seen to end."""
        return bool(self._processes)

    def log(self) -> str:
        """What all parts have logged so far."""
        files = [self.folder / f"{part}.log" for part in self._parts]
        return "".join(file.read_text(encoding="utf-8") for file in files if file.exists())

    def rss_bytes(self, part: str = "up") -> int:
        """Resident memory of one part now."""
        status = Path(f"/proc/{self._processes[part].pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def cpu_seconds(self, part: str = "up") -> float:
        """Processor time that one part has used since its start: a busy machine does not make it more."""
        fields = Path(f"/proc/{self._processes[part].pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def pid(self, part: str = "up") -> int:
        """Of the process of one part."""
        return self._processes[part].pid

    def send_signal(self, part: str, number: signal.Signals) -> None:
        """Send a signal to one part, if it was started and not stopped."""
        if (process := self._processes.get(part)) is not None:
            process.send_signal(number)

    def wait(self, part: str, *, within_seconds: float = 30.0) -> int:
        """The exit status of one part that ends by itself."""
        return self._processes[part].wait(timeout=within_seconds)

    def kill(self) -> None:
        """``kill -9`` every part."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM every part and wait for its end."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(number)
        for process in self._processes.values():
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"a part did not stop within 30 s: {self.log()[-4000:]}") from None
        self._processes.clear()

    def containers(self, status: str | None = None) -> list[str]:
        """Ids of the containers of this hub's programs: all, or those with a status as Docker names it."""
        sandboxes = self.sandboxes()
        listed = self._listed(*([f"status={status}"] if status else []))
        return [id_ for name, id_ in listed if id_ not in sandboxes and not name.startswith("warm-")]

    def waiting(self, status: str | None = None) -> list[str]:
        """The same of the containers that wait for a program."""
        return [id_ for name, id_ in self._listed(*([f"status={status}"] if status else [])) if name.startswith("warm-")]

    def sandboxes(self) -> list[str]:
        """Ids of the network sandboxes of this hub, which are there for as long as its runner is."""
        return [id_ for _, id_ in self._listed("label=io.pyexecutorhub.network-sandbox")]

    def _listed(self, *conditions: str) -> list[tuple[str, str]]:
        filters = [f"label=io.pyexecutorhub.instance={self.instance}", *conditions]
        options = [word for condition in filters for word in ("--filter", condition)]
        command = ["docker", "ps", "--all", "--no-trunc", "--format={{.Names}} {{.ID}}", *options]
        listed = subprocess.run(command, check=True, capture_output=True, text=True)
        return [(name, id_) for name, _, id_ in (line.partition(" ") for line in listed.stdout.splitlines())]

    def inspect(self, name: str) -> dict[str, Any]:
        """What Docker says of one container."""
        inspected = subprocess.run(["docker", "inspect", name], check=True, capture_output=True)
        answer: list[dict[str, Any]] = json.loads(inspected.stdout)
        return answer[0]

    def close(self) -> None:
        """Stop, and remove what may be left of a test that failed."""
        try:
            self.stop()
        finally:
            self._remove_containers()
            if made := self._environments():
                subprocess.run(["docker", "rmi", "-f", "--no-prune", *made], check=True, capture_output=True)

    def _remove_containers(self) -> None:
        """Some may be about to go by themselves, which Docker refuses to help with."""
        give_up_at = time.monotonic() + _REMOVAL_SECONDS
        while left := [id_ for _, id_ in self._listed()]:
            assert time.monotonic() < give_up_at, f"containers are left: {left}"
            subprocess.run(["docker", "rm", "-f", *left], check=False, capture_output=True)

    def _environments(self) -> list[str]:
        """Ids of the images that this hub has made."""
        wanted = f"label=io.pyexecutorhub.instance={self.instance}"
        listed = subprocess.run(["docker", "images", "-q", "--filter", wanted], check=True, capture_output=True, text=True)
        return listed.stdout.split()
