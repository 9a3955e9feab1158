"""The composition root: every part is made here, or in the module of its role, and handed what it needs."""

import asyncio
from contextlib import AsyncExitStack

import structlog

from bus.backoff import Backoff
from bus.errors import BusUnavailable
from bus.open import EMBEDDED, make_bus
from bus.ports import Bus
from hub.catalogues import Catalogues
from hub.config_file import ConfigFile
from hub.errors import SettingsError
from hub.garbage import spare_the_collector
from hub.health import Health, Probe
from hub.lifecycle import Supervisor, stop_on_signals
from hub.pid_file import pid_file
from hub.pulse import Pulse
from hub.role import Role
from hub.settings import Settings
from hub.state_dir import make_state_dir
from hub.version import version
from runner.free_space import FreeSpace

_log = structlog.get_logger()


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
            # Each role's modules only where it is played: a runner that was killed is back the sooner.
            if Role.GATEWAY in roles:
                from hub.gateway_role import open_view, start_gateway

                view = await open_view(stack, hub)
            tasks = await stack.enter_async_context(Supervisor())
            tasks.start("config", catalogues.run())
            tasks.start("pools", _declare_new_pools(bus, catalogues))
            if Role.RUNNER in roles:
                from hub.runner_role import start_runner

                await start_runner(stack, tasks, probes, versions, hub, bus, catalogues, free_space, stop)
            if Role.GATEWAY in roles:
                if len(roles) > 1:  # of one that serves alone nobody can look elsewhere
                    hub = hub.model_copy(update={"leave_seconds": 0.0})
                probes["disk"] = lambda: free_space.problem
                health = Health(bus, probes, versions, needed=probes["disk"])
                await start_gateway(stack, tasks, health, probes, hub, bus, catalogues, view, free_space)
            # A mistake in config.yaml is no reason to call the process unwell: it goes on with the last good one. Nor is what
            # is missing from before.
            fine: dict[str, Probe] = {"config": lambda: None, "history": lambda: None}
            tasks.start("pulse", Pulse(state_dir, Health(bus, probes | fine, versions).problems).run())
            event_loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
            spare_the_collector()
            _log.info("started", action="hub_started", roles=sorted(roles), version=version(), event_loop=event_loop)
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
