"""The runner's part of the composition root."""

import asyncio
import shutil
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from bus.backoff import Backoff
from bus.ports import Bus
from hub.ca_bundle import find_ca_bundle
from hub.catalogues import Catalogues
from hub.errors import RunnerInTheWay, first_of
from hub.health import Probe
from hub.lifecycle import Supervisor
from hub.settings import HubSettings
from hub.state_dir import make_state_dir
from runner.compose_command import find_command
from runner.compose_engine import ComposeEngine
from runner.docker_engine import DockerEngine
from runner.docker_mounts import host_folder
from runner.docker_networks import SandboxUse
from runner.engines import Engines
from runner.errors import Displaced, EngineUnavailable, RunnerIdTaken
from runner.free_space import FreeSpace
from runner.identity import Identity, load_identity
from runner.journal import Journal
from runner.service import Runner
from runner.start_gate import StartGate
from runner.warm_pool import PoolLimits

_log = structlog.get_logger()

#: Value of HOST_PROJECT_DIR that has the engine asked.
AUTO = Path("auto")


async def start_runner(
    stack: AsyncExitStack,
    tasks: Supervisor,
    probes: dict[str, Probe],
    versions: dict[str, Probe],
    hub: HubSettings,
    bus: Bus,
    catalogues: Catalogues,
    free_space: FreeSpace,
    stop: asyncio.Event,
) -> None:
    """Make the runner and start it. In the end it comes to rest before the stack goes on."""
    if hub.host_project_dir == AUTO:
        hub = hub.model_copy(update={"host_project_dir": await _host_project_dir(hub, stop)})
    identity = load_identity(hub.state_path, instance=hub.instance, runner_id=hub.runner_id)
    journal = Journal(hub.state_path / "journal.db")
    await journal.open()
    stack.push_async_callback(journal.close)
    socket_path = hub.docker_host.removeprefix("unix://")
    docker = DockerEngine(
        identity=identity,
        socket_path=socket_path,
        gate=StartGate(hub.docker_starts),
        sandbox_use=SandboxUse(hub.network_sandboxes),
        sandbox_image=lambda: catalogues.current.settings.docker_image,
        warm_limits=PoolLimits(hub.warm_containers, hub.warm_memory),
    )
    compose = await _compose_engine(hub, identity, docker)
    engine = Engines(docker, compose)
    stack.push_async_callback(engine.close)
    runner = Runner(
        bus=bus,
        catalogues=catalogues,
        engine=engine,
        journal=journal,
        identity=identity,
        pool=hub.pool or catalogues.current.settings.pool,
        host_project_dir=hub.host_project_dir,
        free_space=free_space,
        out_of_bounds=(hub.state_path, Path(socket_path)),
        ca_bundle=find_ca_bundle(hub),
        lease_seconds=hub.lease_seconds,
        handover_seconds=hub.handover,
        sweep_seconds=hub.sweep_seconds,
        sweep_dry_run=hub.sweep_dry_run,
    )
    probes["runner"] = lambda: runner.problem
    probes["compose"] = lambda: compose.problem(catalogues.current)
    versions["compose"] = lambda: compose.version
    running = tasks.start("runner", _run(runner))

    async def stop_runner() -> None:
        await runner.stop(hub.stop_seconds)
        # Where it was asked to stop before it had begun, it has still to begin and end: engine and journal must outlast that.
        await asyncio.wait({running})

    stack.push_async_callback(stop_runner)


async def _run(runner: Runner) -> None:
    """Run it; where another process is in its way, say so."""
    try:
        await runner.run()
    except ExceptionGroup as group:
        taken, copied = group.subgroup(RunnerIdTaken), group.subgroup(Displaced)
        if taken is not None:
            raise RunnerInTheWay(first_of(taken), exit_code=2) from group
        if copied is not None:
            raise RunnerInTheWay(first_of(copied), exit_code=1) from group
        raise


async def _compose_engine(hub: HubSettings, identity: Identity, docker: DockerEngine) -> ComposeEngine:
    command = await find_command(hub.compose_command)
    if command is None:
        _log.info("Docker Compose not found: programs that need it will fail", action="compose_missing")
    else:
        _log.info("found %s", command.title, action="compose_found", command=command.words)
    work_dir = hub.state_path / "compose"
    # What an earlier life left there is of no use: its projects are found on Docker.
    await asyncio.to_thread(shutil.rmtree, work_dir, ignore_errors=True)
    return ComposeEngine(
        identity=identity,
        docker=docker,
        work_dir=make_state_dir(work_dir),
        socket_path=hub.docker_host.removeprefix("unix://"),
        command=command,
        configured_command=hub.compose_command,
    )


async def _host_project_dir(hub: HubSettings, stop: asyncio.Event) -> Path | None:
    """Where the engine's host has the project's folder, asked until the engine answers or somebody asks to stop."""
    backoff = Backoff()
    while not stop.is_set():
        try:
            return await host_folder(hub.docker_host.removeprefix("unix://"), socket.gethostname(), hub.project_path)
        except EngineUnavailable as error:
            _log.warning("waiting for the engine", action="engine_awaited", error=str(error))
            await backoff.pause()
    return None
