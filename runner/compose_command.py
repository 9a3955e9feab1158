"""The command line of Docker Compose: found, and run as a process that never outlives its limit or the runner."""

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Where Docker's own command line looks for its plugins, beside its configuration's folder.
_PLUGIN_FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
_PROBE_SECONDS = 30.0
#: Seconds that a process which was told to end gets before it is killed.
_TERM_SECONDS = 10.0
#: Bytes kept of what a process writes: the first ones of stdout, the last ones of stderr.
_MOST_STDOUT = 2 * 1024 * 1024
_MOST_STDERR = 64 * 1024
_VERSION = re.compile(rb"v?(\d+\.\d+\S*)\s*")

#: Variables of the runner that Compose itself needs to find Docker, its configuration and its images.
_PASSED_ON = ("PATH", "HOME", "DOCKER_CONFIG", "DOCKER_BUILDKIT", "BUILDX_CONFIG", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Done:
    """A process that has ended."""

    code: int
    stdout: bytes
    #: The last of it.
    stderr: bytes


@dataclass(frozen=True, slots=True)
class ComposeCommand:
    """A Compose that was found."""

    words: tuple[str, ...]
    version: str

    @property
    def is_v1(self) -> bool:
        """Whether it is ``docker-compose`` 1, which knows fewer options."""
        return self.version.startswith("1.")

    @property
    def own_variables(self) -> dict[str, str]:
        """What it needs even where nothing of the runner's environment is to be seen: ``docker`` looks for its plugin."""
        config = os.environ.get("DOCKER_CONFIG")
        return {"DOCKER_CONFIG": config} if config and "compose" in self.words[1:] else {}

    @property
    def title(self) -> str:
        """For people."""
        return f"{'docker-compose' if self.is_v1 else 'docker compose'} {self.version}"


async def find_command(configured: str | None = None) -> ComposeCommand | None:
    """The Compose to use: the one configured, or else the plugin of ``docker compose``, or else ``docker-compose``."""
    for name, *rest in [tuple(shlex.split(configured))] if configured else _candidates():
        words = (shutil.which(name) or name, *rest)
        if version := await _version_of(words):
            return ComposeCommand(words, version)
    return None


def _candidates() -> list[tuple[str, ...]]:
    config = os.environ.get("DOCKER_CONFIG") or str(Path("~/.docker").expanduser())
    # The plugin is called by itself: under Docker's command line it would live on when only that one is killed.
    plugins = [Path(folder) / "docker-compose" for folder in (f"{config}/cli-plugins", *_PLUGIN_FOLDERS)]
    return [*((str(plugin),) for plugin in plugins if os.access(plugin, os.X_OK)), ("docker", "compose"), ("docker-compose",)]


async def _version_of(words: tuple[str, ...]) -> str | None:
    try:
        done = await run([*words, "version", "--short"], env=own_environment(), cwd=Path("/"), limit_seconds=_PROBE_SECONDS)
    except (OSError, TimeoutError):
        return None
    match = _VERSION.fullmatch(done.stdout) if done.code == 0 else None
    return match and match[1].decode("ascii", "replace")


def own_environment(docker_host: str | None = None) -> dict[str, str]:
    """What Compose needs to work, and nothing else of the runner's environment, which holds passwords."""
    passed_on = {name: value for name in _PASSED_ON if (value := os.environ.get(name))}
    # Version 1 is a Python program, and fails on text that is not ASCII without a locale.
    return {**passed_on, "LC_ALL": "C.UTF-8"} | ({"DOCKER_HOST": docker_host} if docker_host else {})


async def run(words: Sequence[str], *, env: Mapping[str, str], cwd: Path, limit_seconds: float) -> Done:
    """Run a process to its end. At its limit, or when this is cancelled, it is ended with all its children.

    Raises:
        OSError: it can't be run.
        TimeoutError: it did not end within the limit.
    """
    setpriv = shutil.which("setpriv")
    process = await asyncio.create_subprocess_exec(
        # A runner that is killed takes it along: it must not go on making containers that nobody knows of.
        *([setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []),
        *words,
        env=dict(env),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(limit_seconds):
            stdout, stderr = await asyncio.gather(
                _read(process.stdout, _MOST_STDOUT, keep_first=True), _read(process.stderr, _MOST_STDERR, keep_first=False)
            )
            return Done(await process.wait(), stdout, stderr)
    finally:
        await _end(process)


async def _read(stream: asyncio.StreamReader | None, most: int, *, keep_first: bool) -> bytes:
    kept = bytearray()
    while stream is not None and (data := await stream.read(64 * 1024)):
        kept += data
        if len(kept) > most:
            del kept[slice(most, None) if keep_first else slice(0, len(kept) - most)]
    return bytes(kept)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it and its children; most often it has ended already."""
    for number, seconds in ((signal.SIGTERM, _TERM_SECONDS), (signal.SIGKILL, None)):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await process.wait()
