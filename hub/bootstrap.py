"""The composition root: every part is made here and nowhere else, and handed what it needs."""

import asyncio
import importlib.metadata
import shutil
import socket
from contextlib import AsyncExitStack
from enum import StrEnum
from pathlib import Path

import structlog
import typer

from bus.backoff import Backoff
from bus.errors import BusUnavailable
from bus.messages import StreamName
from bus.open import EMBEDDED, make_bus
from bus.ports import Bus
from gateway.app import make_app
from gateway.server import serve as listen
from hub import accounts
from hub.announcer import Announcer
from hub.api_tokens import ApiTokens
from hub.ca_bundle import find_ca_bundle
from hub.catalogues import Catalogues
from hub.cleanups import Cleanups
from hub.config_file import ConfigFile
from hub.duties import together
from hub.ender import Ender
from hub.endings import Endings
from hub.errors import RunnerInTheWay, SettingsError, first_of
from hub.fleet import Fleet
from hub.gaps import Gaps
from hub.health import Health, Probe
from hub.lifecycle import Supervisor, stop_on_signals
from hub.lost_commands import LostCommands
from hub.lost_runners import LostRunners
from hub.pid_file import pid_file
from hub.projector import Projector
from hub.pulse import Pulse
from hub.retrier import Retrier
from hub.settings import HubSettings, Settings
from hub.state_dir import make_state_dir
from hub.view import View
from runner.compose_command import find_command
from runner.compose_engine import ComposeEngine
from runner.docker_engine import DockerEngine
from runner.docker_mounts import host_folder
from runner.engines import Engines
from runner.errors import Displaced, EngineUnavailable, RunnerIdTaken
from runner.free_space import FreeSpace
from runner.identity import Identity, load_identity
from runner.journal import Journal
from runner.service import Runner
from schemas.times import steady_now

_log = structlog.get_logger()

#: Seconds that a start waits for the long-lived tokens to be read.
_TOKENS_SECONDS = 5.0


#: Value of HOST_PROJECT_DIR that has the engine asked.
AUTO = Path("auto")


class Role(StrEnum):
    """A part that a process can play."""

    GATEWAY = "gateway"
    RUNNER = "runner"


async def serve(settings: Settings, roles: frozenset[Role]) -> int:
    """Play the roles until SIGTERM or SIGINT; the process's exit status.

    Raises:
        HubError: something can't be used, is in use already, or died; its text says what to do.
    """
    hub = settings.hub
    state_dir = make_state_dir(hub.state_path)
    name = next(iter(roles)).value if len(roles) == 1 else "hub"
    if len(roles) == 1 and hub.bus_url.get_secret_value() == EMBEDDED:
        raise SettingsError(
            f"the embedded bus serves one process, and a {name} alone is not enough: use  pyexecutorhub up,"
            " or set HUB_BUS_URL to amqp://user:password@host/vhost"
        )
    with pid_file(state_dir / f"{name}.pid"), stop_on_signals() as stop:
        catalogues = Catalogues.load(config_file(settings))
        async with AsyncExitStack() as stack:
            # Left in the opposite order: first nobody is let in, then the runner comes to rest, then the tasks, then the bus.
            # Gateway and runner of one host may share a state directory; what a bus keeps belongs to one process.
            bus_dir = state_dir if name == "hub" else make_state_dir(state_dir / name)
            bus = make_bus(hub.bus_url.get_secret_value(), state_dir=bus_dir, name=name)
            stack.push_async_callback(bus.close)
            if not await _opened(bus, catalogues.current.pools, stop):
                return 0
            probes: dict[str, Probe] = {"config": lambda: catalogues.problem}
            versions: dict[str, Probe] = {}
            free_space = FreeSpace(hub.state_path, hub.min_free_bytes)
            view = await _view(stack, hub) if Role.GATEWAY in roles else None
            tasks = await stack.enter_async_context(Supervisor())
            tasks.start("config", catalogues.run())
            tasks.start("pools", _declare_new_pools(bus, catalogues))
            if Role.RUNNER in roles:
                if hub.host_project_dir == AUTO:
                    hub = hub.model_copy(update={"host_project_dir": await _host_project_dir(hub, stop)})
                await _start_runner(stack, tasks, probes, versions, hub, bus, catalogues, free_space)
            if view is not None:
                if len(roles) > 1:  # of one that serves alone nobody can look elsewhere
                    hub = hub.model_copy(update={"leave_seconds": 0.0})
                probes["disk"] = lambda: free_space.problem
                health = Health(bus, probes, versions, needed=probes["disk"])
                await _start_gateway(stack, tasks, health, probes, hub, bus, catalogues, view, free_space)
            # A mistake in config.yaml is no reason to call the process unwell: it goes on with the last good one. Nor is what
            # is missing from before.
            fine: dict[str, Probe] = {"config": lambda: None, "history": lambda: None}
            tasks.start("pulse", Pulse(state_dir, Health(bus, probes | fine, versions).problems).run())
            _log.info("started", action="hub_started", roles=sorted(roles), version=version())
            await tasks.wait(stop)
    _log.info("stopped", action="hub_stopped")
    return 0


def config_file(settings: Settings) -> ConfigFile:
    """The config.yaml of these settings, with what they put above and below it."""
    return ConfigFile(
        path=settings.hub.config_path,
        project_dir=settings.hub.project_path,
        overrides=settings.overrides,
        fallbacks=settings.fallbacks,
    )


async def _view(stack: AsyncExitStack, hub: HubSettings) -> View:
    view = View(hub.state_path / "view.db", clock=steady_now)
    stack.push_async_callback(view.close)
    await view.open()
    return view


async def _start_runner(
    stack: AsyncExitStack,
    tasks: Supervisor,
    probes: dict[str, Probe],
    versions: dict[str, Probe],
    hub: HubSettings,
    bus: Bus,
    catalogues: Catalogues,
    free_space: FreeSpace,
) -> None:
    identity = load_identity(hub.state_path, instance=hub.instance, runner_id=hub.runner_id)
    journal = Journal(hub.state_path / "journal.db")
    await journal.open()
    stack.push_async_callback(journal.close)
    socket_path = hub.docker_host.removeprefix("unix://")
    docker = DockerEngine(identity=identity, socket_path=socket_path)
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


async def _start_gateway(
    stack: AsyncExitStack,
    tasks: Supervisor,
    health: Health,
    probes: dict[str, Probe],
    hub: HubSettings,
    bus: Bus,
    catalogues: Catalogues,
    view: View,
    free_space: FreeSpace,
) -> None:
    endings = Endings(view)
    gaps = Gaps()
    ender = Ender(bus.decisions, bus.streams, view)
    retrier = Retrier(bus.commands, bus.decisions, bus.streams, view, lambda: catalogues.current)
    lost_commands = LostCommands(bus.commands, bus.decisions, bus.streams, bus.leases, bus.dead_letters, view)
    lost_runners = LostRunners(
        bus.decisions,
        bus.epochs,
        bus.leases,
        bus.streams,
        view,
        retry_of=lambda name: catalogues.current.retry_of(name),
        lease_seconds=hub.lease_seconds,
    )
    api_tokens = ApiTokens(bus.streams, gaps=gaps, snapshots_file=hub.state_path / "tokens-from.json")
    announcer = Announcer(
        bus.announcements,
        view,
        duty=together(ender.run, retrier.run, lost_commands.run, lost_runners.run, api_tokens.keep_short),
        log_end=lambda: bus.streams.end(StreamName.LOG),
    )

    def wake() -> None:
        announcer.wake()
        retrier.wake()

    cleanups = Cleanups(bus.streams)
    projector = Projector(
        bus.streams,
        view,
        endings,
        keep_finished=lambda: catalogues.current.settings.max_executions,
        on_transitions=wake,
        on_cleanups=cleanups.applied,
        on_new_log=announcer.begin_anew,
        gaps=gaps,
    )
    tasks.start("projector", projector.run())
    tasks.start("announcer", announcer.run())
    probes |= {"view": lambda: projector.problem or announcer.problem, "history": lambda: gaps.problem}
    tasks.start("tokens", api_tokens.run())
    probes["tokens"] = lambda: api_tokens.problem
    # Whoever comes first finds them read; should that take longer, requests with such a token wait for it themselves.
    await api_tokens.caught_up(_TOKENS_SECONDS)
    users, created = open_accounts(hub)
    stack.callback(users.close)
    if created is not None:
        typer.echo(accounts.banner(created))
    tasks.start("dead letters", bus.dead_letters.follow())
    tasks.start("leases", bus.leases.follow())
    app = make_app(
        catalogues=catalogues,
        commands=bus.commands,
        decisions=bus.decisions,
        view=view,
        endings=endings,
        cleanups=cleanups,
        dead_letters=bus.dead_letters,
        fleet=Fleet(bus.leases, bus.questions),
        health=health,
        accounts=users,
        api_tokens=api_tokens,
        signing_key=users.signing_key,
        queue_length=hub.queue_length,
        room=free_space,
        version=version(),
    )
    await stack.enter_async_context(listen(app, host=hub.api_host, port=hub.api_port, leave_seconds=hub.leave_seconds))


async def _opened(bus: Bus, pools: frozenset[str], stop: asyncio.Event) -> bool:
    """Whether the bus could be opened before somebody asked to stop. Servers may start in any order, so this waits."""
    backoff = Backoff()
    while not stop.is_set():
        try:
            await bus.open(pools)
        except BusUnavailable as error:
            _log.warning("waiting for the bus", action="bus_awaited", error=str(error))
            await backoff.pause()
        else:
            return True
    return False


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


async def _declare_new_pools(bus: Bus, catalogues: Catalogues) -> None:
    known = catalogues.current
    backoff = Backoff()
    while True:
        catalogue = await catalogues.changed(known)
        try:
            await bus.open(catalogue.pools)
        except BusUnavailable as error:
            _log.warning("pools not declared yet", action="pools_awaited", error=str(error))
            await backoff.pause()
        else:
            known = catalogue
            backoff.reset()


def open_accounts(hub: HubSettings) -> tuple[accounts.Accounts, accounts.Credentials | None]:
    """The accounts of this hub, and the credentials if a password was made just now."""
    return accounts.open_accounts(
        make_state_dir(hub.state_path),
        username=hub.username,
        password=hub.password.get_secret_value() if hub.password else None,
        secret_key=hub.secret_key.get_secret_value() if hub.secret_key else None,
    )


def version() -> str:
    """Of the installed package."""
    return importlib.metadata.version("pyexecutorhub")
