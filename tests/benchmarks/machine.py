"""On what it was measured: processors, memory, versions, and how busy everything else kept it."""

import os
import platform
import sqlite3
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import aiodocker

from tests.support.broker import OwnBroker
from tests.support.hub_process import ROOT

_LIBRARIES = (
    *("pyexecutorhub", "aiohttp", "aio-pika", "aiodocker", "pydantic", "uvloop"),
    *("celery", "dramatiq", "faststream", "taskiq", "taskiq-aio-pika"),
)


def load_average() -> float:
    """Processes that wanted a processor, over the last minute: what else went on counts too."""
    return round(os.getloadavg()[0], 2)


async def describe(docker: aiodocker.Docker, broker: OwnBroker) -> dict[str, Any]:
    """Everything that a figure may depend on. No name and no address of the machine."""
    info, engine = await docker.system.info(), await docker.version()
    parts = {part["Name"]: part["Version"] for part in engine.get("Components", [])}
    return {
        "processor": _first(Path("/proc/cpuinfo"), "model name"),
        "processors": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1),
        "system": _first(Path("/etc/os-release"), "PRETTY_NAME", separator="=").strip('"'),
        "kernel": platform.release(),
        "docker": engine["Version"],
        "containerd": parts.get("containerd"),
        "runc": parts.get("runc"),
        "storage": info.get("Driver"),
        "cgroups": info.get("CgroupVersion", "1"),
        "rabbitmq": broker.control("version").strip(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name)) is not None},
        # The Docker daemon has a niceness of its own: whoever runs this with another favours one side.
        "niceness": os.nice(0),
        "commit": _commit(),
    }


def _first(path: Path, name: str, *, separator: str = ":") -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(separator)
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
